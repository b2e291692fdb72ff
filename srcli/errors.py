"""The errors that a user can cause and mend: one message, one hint, one exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns to the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


class SrError(Exception):
    """An expected failure: `message` says what is wrong, `hint` what to do next, each one line."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SrError):
    """The command line asks for something that does not exist or cannot be."""

    exit_code = ExitCode.USAGE


class FileError(SrError):
    """A file or folder cannot be written."""


class ImageError(SrError):
    """A file cannot be read as an image, or an image cannot be written."""


class WeightsError(SrError):
    """Weights are missing, damaged, unsafe or meant for another network."""


class ManifestError(SrError):
    """`weights_manifest.json` has an entry that does not follow the schema."""


class DatasetError(SrError):
    """A data set is missing, empty or damaged."""


class ProtocolError(SrError):
    """The bench's own check against published figures failed."""
