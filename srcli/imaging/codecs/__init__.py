"""Reading and writing image files, one module per family of formats."""
