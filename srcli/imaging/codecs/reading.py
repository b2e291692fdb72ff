"""Reading image files: content chooses the codec, and anything wrong with a file is an `ImageError`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcli.errors import ImageError
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.base import (
    HEAD_BYTES,
    MAX_PIXELS,
    Codec,
    Coding,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    read_head,
)
from srcli.imaging.codecs.refused import find_refused
from srcli.imaging.pixels import StoredSamples
from srcli.storage.silence import silence_warnings

# Any file may have these pixels, however small it is: the scan of a blank page takes 20 kB.
_SMALL_FILE_PIXELS = 2**24
# Each row takes time of its own, so a picture that is very narrow may not have many of them.
_NARROW, _MOST_NARROW_ROWS = 256, 2**15
_BYTE = 8

# Decoders raise these for damaged data: AVIF's RuntimeError, Pillow's TIFF reader AttributeError and
# AssertionError for absurd tags.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError, RuntimeError,
    AttributeError, AssertionError,
)  # fmt: skip
# struct.error, zlib.error and ImageCms.PyCMSError share no parent.
_DECODER_MODULES = ("struct", "zlib", "PIL")


def check_readable(path: Path) -> None:
    """Raise `ImageError` unless there is an ordinary file at `path` that may be read."""
    try:
        if not path.exists():
            raise ImageError(f"{path} does not exist", "check the path")
        if path.is_dir():
            raise ImageError(f"{path} is a folder", "name an image file")
        if not path.is_file():
            raise ImageError(f"{path} is not a regular file", "name an image file, or - for stdin")
        if not os.access(path, os.R_OK):
            raise ImageError(f"{path} cannot be read", "change its permissions")
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes)", "copy or download the file again")
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}", "check the path") from error


def read_info(path: Path) -> ImageInfo:
    """Read what a file is from its headers. Raises `ImageError` for files that are no image or damaged."""
    with _open_codec(path) as codec:
        return codec.describe(path)


def count_plausible_pixels(path: Path) -> int:
    """Return how many pixels, over all frames, a file of this format, depth and size may have by default.

    A small file that claims a huge image is an attack or a mistake. Raises `ImageError` as `read_info` does.
    """
    with _open_codec(path) as codec:
        most = path.stat().st_size * codec.pixels_per_byte
        if most > _SMALL_FILE_PIXELS and max(codec.all_read_depths) > _BYTE:
            most = most * _BYTE // max(codec.describe(path).depth, _BYTE)
        for width, height in codec.list_sizes(path):
            if width < _NARROW and height > _MOST_NARROW_ROWS:
                return width * _MOST_NARROW_ROWS
        return min(MAX_PIXELS, max(_SMALL_FILE_PIXELS, most))


def read_coding(path: Path) -> tuple[Codec, Coding]:
    """Return the codec of a file, and how its samples are coded. Raises `ImageError` as `read_info` does."""
    with _open_codec(path) as codec:
        return codec, codec.read_coding(path)


def read_timing(path: Path, max_pixels: int = MAX_PIXELS) -> FrameTiming:
    """Count the frames and read how long each is shown. Raises `ImageError` as `read_frames` does."""
    with _open_codec(path) as codec:
        _check_extent(codec, path, max_pixels)
        return codec.read_timing(path)


def read_frames(path: Path, max_pixels: int = MAX_PIXELS, *, salvage: bool = False) -> Iterator[Frame]:
    """Decode the frames one at a time. Raises `ImageError` as `read_info` does, and for too many pixels.

    All frames together may have no more than `max_pixels`; for files of others, see `count_plausible_pixels`.
    `salvage`: of a file that was cut off, decode what is there.
    """
    with _open_codec(path) as codec:
        _check_extent(codec, path, max_pixels)
        yield from (codec.salvage_frames if salvage else codec.read_frames)(path, max_pixels)


def _check_extent(codec: Codec, path: Path, max_pixels: int) -> None:
    """Raise `ImageError` if the headers claim more pixels, before anything is decoded."""
    extent = codec.measure(path)
    if extent:
        extent.check(path, max_pixels)


def read_middle(path: Path, side: int, max_pixels: int = MAX_PIXELS) -> StoredSamples | None:
    """Decode the middle of the first frame, `side` pixels or less a side; None if that takes too much memory.

    Raises `ImageError` as `read_frames` does.
    """
    with _open_codec(path) as codec:
        _check_extent(codec, path, max_pixels)
        return codec.read_middle(path, side, max_pixels)


@contextmanager
def _open_codec(path: Path) -> Iterator[Codec]:
    """Choose the codec of a file by its content; what decoders raise within becomes an `ImageError`."""
    check_readable(path)
    codec = None
    try:
        with silence_warnings():  # about odd but readable metadata
            codec = _identify(path)
            yield codec
    except UnsupportedImageError as error:
        raise ImageError(f"{path} cannot be read: {error.reason}", error.hint) from error
    except _DECODER_ERRORS as error:
        raise _explain(path, error, codec) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _DECODER_MODULES:
            raise
        raise _explain(path, error, codec) from error


def _identify(path: Path) -> Codec:
    head = read_head(path, HEAD_BYTES)
    codec = registry.identify(head)
    if codec is None:
        refused = find_refused(head)
        if refused:
            raise ImageError(f"{path} is {refused.name}", refused.hint.format(path=path))
        raise _not_an_image(path)
    if codec.missing_package:
        raise ImageError(
            f"reading {path} needs {codec.missing_package}", f"pip install 'sr-cli[{codec.extra}]'"
        )
    return codec


def _explain(path: Path, error: Exception, codec: Codec | None) -> ImageError:
    """Return the error for a file that a decoder refused."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return _not_an_image(path)
    if any(
        word in str(error).lower() for word in ("unsupported", "unimplemented")
    ):  # Pillow's words for these
        return ImageError(f"{path} cannot be read: {error}", "convert it to PNG with another program")
    reason = (str(error) or type(error).__name__).splitlines()[0].replace(str(path), "the file")
    is_cut = codec is not None and codec.can_salvage and "truncated" in reason
    way = "; --salvage decodes what is there" if is_cut else ""
    return ImageError(f"{path} is damaged: {reason}", f"copy or download the file again{way}")


def _not_an_image(path: Path) -> ImageError:
    return ImageError(f"{path} is not an image", registry.READABLE_HINT)
