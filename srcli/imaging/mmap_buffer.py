"""Samples that are too many for memory: in a file that is mapped, of which few pages are kept resident."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MmapBuffer:
    """`samples` of 8 bits, any shape."""

    samples: NDArray[np.uint8]
    memory: mmap.mmap

    def drop_pages(self) -> None:
        """Leave what was written or read to the file: it comes back from there when it is touched."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.memory.madvise(mmap.MADV_DONTNEED)


@contextmanager
def open_on_disk(shape: tuple[int, ...], folder: Path) -> Iterator[MmapBuffer]:
    """A canvas in a nameless file in `folder`. Raises `OSError` where there is no room for all of it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        size = int(np.prod(shape))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk would end the process
        else:
            file.truncate(size)
        memory = mmap.mmap(file.fileno(), size)
        yield MmapBuffer(np.frombuffer(memory, np.uint8).reshape(shape), memory)


@dataclass(frozen=True)
class PageDroppingFile:
    """A file for an encoder that reads a canvas: what it has read is forgotten as it writes."""

    file: BinaryIO
    canvas: MmapBuffer

    def write(self, data: bytes) -> int:
        """As any file's."""
        self.canvas.drop_pages()
        return self.file.write(data)

    def flush(self) -> None:
        """As any file's."""
        self.file.flush()
