"""Image quality metrics as functions of arrays."""
