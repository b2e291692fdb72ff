"""Runtimes: what runs a network on tiles. `base` has the protocol, `select` chooses one."""
