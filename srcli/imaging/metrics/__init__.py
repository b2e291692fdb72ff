"""Image quality metrics as functions of arrays: full-reference ones, and NIQE. No files, no torch."""
