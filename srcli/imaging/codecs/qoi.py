"""The Quite OK Image format; read, not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="QOI",
    read_suffixes=(".qoi",),
    signatures=(b"qoif",),
    plugin="QoiImagePlugin",
    read_depths=(8,),
    read_channels=(3, 4),
)
