"""Degradations as plans of steps from high to low resolution. No torch; batches are in `train.degrade`."""
