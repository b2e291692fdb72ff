"""Images as arrays: files, metadata, resizing, colour, degradations and metrics.

Nothing here knows of torch, of networks or of the command line. 8- and 16-bit integers live only here;
everything above works on `pixels` and `rows`, floats in [0, 1].
"""
