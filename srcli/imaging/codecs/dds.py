"""DirectDraw surfaces, the textures of games; read, not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="DDS",
    read_suffixes=(".dds",),
    signatures=(b"DDS ",),
    plugin="DdsImagePlugin",
    read_depths=(8,),
    read_channels=(1, 2, 3, 4),
)
