"""Apple icons, of which the largest picture is read; not written."""

from srcli.imaging.codecs.ico import IconCodec

CODEC = IconCodec(
    name="ICNS",
    read_suffixes=(".icns",),
    signatures=(b"icns",),
    plugin="IcnsImagePlugin",
    read_depths=(8,),
    read_channels=(3, 4),
)
