"""What a file says beside its pixels: EXIF, XMP, colour profiles, and how an image was made."""
