"""Pixels without torch: reading, writing, resizing, colour, degradation and metrics."""
