"""Training: recipes, data, the loop, and checkpoints that upscale, bench and compare can load."""
