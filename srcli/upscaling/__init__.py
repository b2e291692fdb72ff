"""One file in, one file out: pipeline, postprocessing, estimates and fingerprints."""
