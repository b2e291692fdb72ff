"""Reading and writing image files: one module for each format, listed in `registry`.

`reading` and `writing` are the way in; `base` says what a codec is, and `pillow`, `opencv` and `orientation`
are shared by codecs. Only a format's own module knows its name.
"""
