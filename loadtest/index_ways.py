"""The indexes that `loadtest.index` compares: ours from a real snapshot, and those of FAISS.

Each is built, saved to disk, opened again from there and then searched. FAISS runs one thread.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import faiss
import numpy as np

from hashlists.model import Harm, ListState
from hashlists.snapshot import SnapshotWriter, open_current
from matcher.index import sealed
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.write import write_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hashlists.model import HashKind

    UInt8Array = NDArray[np.uint8]
    Int64Array = NDArray[np.int64]
    #: Queries -> query rows and code rows of all hits.
    Search = Callable[[UInt8Array], tuple[Int64Array, Int64Array]]

_ADDED: Final = 1 << 18  # hashes given to an index at a time


@dataclass(frozen=True, slots=True)
class Way:
    """An index that was built, saved and opened.

    Attributes:
        name: as the table has it.
        count: how many codes it holds.
        build: seconds; of ours saving included.
        bytes_a_code: in memory.
        open: seconds from file to first search.
        search: finds codes.
    """

    name: str
    count: int
    build: float
    bytes_a_code: float
    open: float
    search: Search


def ours(
    kind: HashKind, codes: UInt8Array, threshold: int, folder: Path, *, shuffled: bool = True
) -> Way:
    """A whole index in a snapshot, as servers have it: entries, documents and codes.

    Building takes everything from rows in memory to a published snapshot, putting codes in order
    and every digest included. Opening verifies every byte and checks every array. The bytes are
    those of the codes; entry arrays come on top.

    Args:
        kind: what the codes are.
        codes: distinct, in the order of their bytes.
        threshold: that is searched with.
        folder: takes the snapshot.
        shuffled: hand the codes over in no order, which takes a copy of them.
    """
    count = len(codes)
    given = np.random.default_rng(count).permutation(codes) if shuffled else codes
    start = time.perf_counter()
    builder = IndexBuilder()
    for first in range(0, count, _ADDED):
        builder.add(_rows(kind, given[first : first + _ADDED], first))
    with SnapshotWriter(folder, revision=1) as writer:
        listed = IndexedList("made-up", Harm.TEST, ListState.LIVE, count, {})
        write_index(writer, lists=[listed], classifications=[None], base=builder)
        writer.publish({})
    build = time.perf_counter() - start
    del builder, given
    start = time.perf_counter()
    snapshot = open_current(folder)
    if snapshot is None:
        raise FileNotFoundError(folder)
    (segment,) = MatchIndex.open(snapshot).segments
    opened = time.perf_counter() - start
    index = segment.codes[kind].index

    def search(queries: UInt8Array) -> tuple[Int64Array, Int64Array]:
        hits = index.search(queries, threshold)
        return hits.query_rows, hits.code_rows

    parameters = sealed.choose_parameters(kind, count)
    names = sealed.sealed_names(kind, parameters)
    size = sum(snapshot.arrays[f"base.{kind}.{name}"].nbytes for name in names)
    name = f"ours, {describe(parameters)}"
    return Way(name, count, build, size / max(1, count), opened, search)


def _rows(kind: HashKind, codes: UInt8Array, first: int) -> IndexRows:
    """Entries of one code each, numbered from `first` on."""
    count = len(codes)
    rows = np.arange(count, dtype=np.int64)
    return IndexRows(
        catalog_ids=rows + first,
        list_rows=np.zeros(count, np.uint16),
        classification_rows=np.zeros(count, np.uint32),
        flags=np.zeros(count, np.uint16),
        sizes=np.full(count, -1, np.int64),
        expires=np.zeros(count, np.uint32),
        codes={kind: (rows, codes)},
    )


def describe(parameters: dict[str, Any]) -> str:
    """A method in a few words, for instance `6 x 21 + 7 x 18 bits`."""
    if "chunk_bits" not in parameters:
        return str(parameters["method"]).replace("_", " ")
    widths = parameters["chunk_bits"]
    parts = [f"{widths.count(bits)} x {bits}" for bits in dict.fromkeys(widths)]
    return f"{' + '.join(parts)} bits"


def faiss_flat(codes: UInt8Array, threshold: int, folder: Path) -> Way:
    """`IndexBinaryFlat`."""
    return _faiss_binary("FAISS flat", lambda: faiss.IndexBinaryFlat(256), codes, threshold, folder)


def faiss_multi_hash(codes: UInt8Array, threshold: int, folder: Path) -> Way:
    """`IndexBinaryMultiHash` 16 x 16 as the `threatexchange` package makes it, with its `nflip`.

    Its dictionary of rows in Python, which costs more, is left out.
    """

    def make() -> Any:
        inner = faiss.IndexBinaryMultiHash(256, 16, 16)
        inner.nflip = threshold // 16
        return inner

    return _faiss_binary("FAISS MultiHash 16 x 16", make, codes, threshold, folder)


def faiss_flat_l2(codes: UInt8Array, threshold: int, folder: Path) -> Way:
    """`IndexFlatL2` over float32."""
    make = partial(faiss.IndexFlatL2, codes.shape[1])
    return _faiss_float("FAISS IndexFlatL2", make, codes, threshold, folder)


def faiss_direct_8bit(codes: UInt8Array, threshold: int, folder: Path) -> Way:
    """`IndexScalarQuantizer` that keeps the bytes as they are."""
    quantizer = faiss.ScalarQuantizer.QT_8bit_direct
    make = partial(faiss.IndexScalarQuantizer, codes.shape[1], quantizer, faiss.METRIC_L2)
    return _faiss_float("FAISS 8-bit direct", make, codes, threshold, folder)


def _faiss_binary(
    name: str, make: Callable[[], Any], codes: UInt8Array, threshold: int, folder: Path
) -> Way:
    def add(index: Any) -> None:
        index.add(codes)

    def search(index: Any, queries: UInt8Array) -> tuple[Int64Array, Int64Array]:
        return _pairs(*index.range_search(queries, threshold + 1))

    library = _Library(make, add, faiss.write_index_binary, faiss.read_index_binary, search)
    return _measure(name, library, len(codes), folder)


def _faiss_float(
    name: str, make: Callable[[], Any], codes: UInt8Array, threshold: int, folder: Path
) -> Way:
    def add(index: Any) -> None:
        for start in range(0, len(codes), _ADDED):
            index.add(codes[start : start + _ADDED].astype(np.float32))

    def search(index: Any, queries: UInt8Array) -> tuple[Int64Array, Int64Array]:
        return _pairs(*index.range_search(queries.astype(np.float32), threshold + 0.5))

    library = _Library(make, add, faiss.write_index, faiss.read_index, search)
    return _measure(name, library, len(codes), folder)


@dataclass(frozen=True, slots=True)
class _Library:
    """How FAISS makes, fills, writes, reads and searches an index."""

    make: Callable[[], Any]
    add: Callable[[Any], None]
    write: Callable[..., None]
    read: Callable[..., Any]
    search: Callable[..., tuple[Int64Array, Int64Array]]


def _measure(name: str, library: _Library, count: int, folder: Path) -> Way:
    faiss.omp_set_num_threads(1)
    start = time.perf_counter()
    index = library.make()
    library.add(index)
    build = time.perf_counter() - start
    file = str(folder / "index.faiss")
    library.write(index, file)
    del index
    gc.collect()
    before = resident_bytes()
    start = time.perf_counter()
    opened = library.read(file)
    seconds = time.perf_counter() - start
    gc.collect()
    size = (resident_bytes() - before) / count
    Path(file).unlink()
    return Way(name, count, build, size, seconds, partial(library.search, opened))


def _pairs(limits: Any, _: Any, labels: Any) -> tuple[Int64Array, Int64Array]:
    return np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64))), labels


def resident_bytes() -> int:
    """Memory of this process that is in RAM; what was freed is given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(work: Callable[[], object]) -> int | None:
    """By how much memory in RAM grows at most while something runs; None where Linux won't say."""
    before = resident_bytes()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    except OSError:
        return None
    work()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return peak * 1024 - before
