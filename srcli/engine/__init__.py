"""The runtime: device, tiles, weights, and pixels through a network."""
