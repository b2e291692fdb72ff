"""Windows icons, of which the largest picture is read; not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="ICO",
    read_suffixes=(".ico",),
    signatures=(b"\x00\x00\x01\x00",),
    plugin="IcoImagePlugin",
    read_depths=(8,),
    read_channels=(4,),
)
