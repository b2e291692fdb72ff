"""Errors that a user can cause and fix: one message, one hint, one exit code."""

import traceback
from enum import IntEnum

_MAX_REASON = 200  # characters
# Packages that extras install, by their modules: what people call them, and the extra.
_EXTRAS = {
    "torch": ("PyTorch", "torch"),
    "cv2": ("OpenCV", "opencv"),
    "huggingface_hub": ("huggingface-hub", "hub"),
}


class ExitCode(IntEnum):
    """The exit code of the process.

    FAILED: nothing succeeded; PARTLY: some images succeeded, the others are named.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    INTERRUPTED = 130


class SrError(Exception):
    """An expected failure: `message` says what is wrong, `hint` what to do next, each in one line.

    `affects_all`: everything else would fail in the same way, as on a full disk. `details`: the traceback of
    an exception that nobody expected, which `--debug` prints.
    """

    exit_code = ExitCode.FAILED
    affects_all = False
    details = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SrError):
    """The command line asks for something that does not exist or cannot be."""

    exit_code = ExitCode.USAGE


class FileError(SrError):
    """A file or folder cannot be written."""

    def __init__(self, message: str, hint: str = "", affects_all: bool = False) -> None:
        super().__init__(message, hint)
        self.affects_all = affects_all


class ImageError(SrError):
    """An image cannot be read or written."""


class WeightsError(SrError):
    """Weights are missing, damaged, unsafe, or belong to another network."""


class ManifestError(SrError):
    """`weights_manifest.json` has an entry that does not follow the schema."""


class DatasetError(SrError):
    """A data set is missing, empty or damaged."""


class ProtocolError(SrError):
    """The bench's own check against published figures failed."""


def explain_missing(module: str, subject: object) -> SrError:
    """Return the error for a module that is not installed, with the command that installs it."""
    package = module.partition(".")[0]
    if package not in _EXTRAS:
        return SrError(f"{subject} needs the package {package}", f"pip install {package}")
    name, extra = _EXTRAS[package]
    return SrError(f"{subject} needs {name}, which is not installed", f"pip install 'sr-cli[{extra}]'")


def is_optional(module: str) -> bool:
    """Return whether a module belongs to a package that an extra brings."""
    return module.partition(".")[0] in _EXTRAS


def wrap_exception(error: Exception, subject: object) -> SrError:
    """Return the failure of one file or model, whatever was raised while it was processed.

    An exception that is not an `SrError` is a bug, or a file that nobody thought of: it ends the work on
    `subject` and on nothing else.
    """
    if isinstance(error, SrError):
        return error
    if isinstance(error, MemoryError):
        failure = SrError(f"not enough memory for {subject}", "use a smaller scale")
    elif isinstance(error, ImportError):
        failure = explain_missing(error.name or str(error), subject)
    else:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON]
        failure = SrError(
            f"{subject} failed unexpectedly ({reason})", "report it with the output of sr --debug"
        )
    failure.details = "".join(traceback.format_exception(error))
    return failure
