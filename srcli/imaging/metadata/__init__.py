"""Metadata of images: EXIF, XMP, colour profiles, PNG chunks, and the record of how an image was made."""
