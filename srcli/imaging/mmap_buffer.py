"""Buffers too large for memory, in a mapped file of which few pages stay resident."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass


@dataclass(frozen=True)
class MmapBuffer:
    """An array of 8-bit samples of any shape in a mapped file."""

    samples: NDArray[np.uint8]
    memory: mmap.mmap

    def drop_pages(self) -> None:
        """Release the memory of all pages; they are read from the file again when they are touched."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.memory.madvise(mmap.MADV_DONTNEED)


@contextmanager
def open_on_disk(shape: tuple[int, ...], folder: Path) -> Iterator[MmapBuffer]:
    """Open a buffer in an unnamed file in `folder`. Raises `OSError` if the disk has no room for it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        size = int(np.prod(shape))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # otherwise a full disk would kill the process
        else:
            file.truncate(size)
        memory = mmap.mmap(file.fileno(), size)
        yield MmapBuffer(np.frombuffer(memory, np.uint8).reshape(shape), memory)


@dataclass(frozen=True)
class PageDroppingFile:
    """A file that releases the memory of a buffer whenever the encoder that reads the buffer writes."""

    file: BinaryIO
    buffer: MmapBuffer

    def write(self, data: bytes) -> int:
        """Write bytes and return their number."""
        self.buffer.drop_pages()
        return self.file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()
