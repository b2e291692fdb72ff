"""Silicon Graphics images; read, not written."""

from srcli.imaging.codecs.pillow import PillowCodec

CODEC = PillowCodec(
    name="SGI",
    read_suffixes=(
        ".sgi",
        ".rgb",
        ".rgba",
        ".bw",
    ),
    signatures=(b"\x01\xda",),
    plugin="SgiImagePlugin",
)
