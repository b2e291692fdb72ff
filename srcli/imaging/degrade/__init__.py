"""Degradations: from a high-resolution image to the low-resolution one."""
