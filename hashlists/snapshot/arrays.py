"""Arrays and their bytes: how a file is mapped, and how it is told to be the very same file."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

AnyArray: TypeAlias = "NDArray[Any]"


class FileIdentity(NamedTuple):
    """What two names of one unchanged file have in common.

    While the file is mapped its inode is not given to another one, so equal identities mean the
    same bytes.
    """

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """The identity in what `stat` says."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def bytes_of(array: AnyArray) -> memoryview:
    """The bytes of a C-contiguous array, without a copy."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


def map_array(file: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
    """Maps an open file as a read-only array; the file may be closed afterwards.

    Raises:
        ValueError, OverflowError: the file is shorter than that, or the shape is beyond any array.
        OSError: the system refuses to map it.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes == 0:  # an empty file cannot be mapped
        empty = np.empty(shape, dtype)
        empty.flags.writeable = False
        return empty
    mapped = mmap.mmap(file, nbytes, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype).reshape(shape)


def map_memory(memory: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
    """Maps sealed anonymous memory as a read-only array; left out of core dumps.

    Raises:
        OSError: the system refuses to map it.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes == 0:
        return map_array(memory, dtype, shape)
    # Private, since kernels before 6.7 refuse to share what is sealed against writing. As nobody
    # writes, the pages are one for all processes even so.
    mapped = mmap.mmap(memory, nbytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    mapped.madvise(mmap.MADV_DONTDUMP)
    return np.frombuffer(mapped, dtype).reshape(shape)


__all__ = ["AnyArray", "FileIdentity", "bytes_of", "map_array", "map_memory"]
