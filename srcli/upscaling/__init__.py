"""One image file in, one enlarged file out: the pipeline, postprocessing, estimates and fingerprints.

Many files are planned and run in `batch`; what enlarges the pixels is in `methods`.
"""
