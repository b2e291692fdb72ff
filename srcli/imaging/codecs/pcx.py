"""ZSoft PCX; read, not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="PCX",
    read_suffixes=(".pcx",),
    signatures=(
        b"\x0a\x00",
        b"\x0a\x02",
        b"\x0a\x03",
        b"\x0a\x05",
    ),
    plugin="PcxImagePlugin",
    read_depths=(1, 8),
    read_channels=(1, 3),
)
