"""Sun raster files; read, not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="SUN",
    read_suffixes=(".ras",),
    signatures=(b"\x59\xa6\x6a\x95",),
    plugin="SunImagePlugin",
)
