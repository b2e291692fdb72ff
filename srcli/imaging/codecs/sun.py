"""Sun raster files; read, not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="SUN",
    read_suffixes=(".ras",),
    signatures=(b"\x59\xa6\x6a\x95",),
    plugin="SunImagePlugin",
    read_depths=(8,),
    read_channels=(1, 3),
)
