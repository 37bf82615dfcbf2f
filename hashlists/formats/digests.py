r"""Reads text files of digests: the lists that checksum tools and forensic tools write.

One reader for what differs little and is often named alike:

- md5sum, sha1sum, sha256sum (`HEX  NAME`, `HEX *NAME`), and bare values, one a line;
- BSD, `--tag` and openssl (`MD5 (NAME) = HEX`);
- index files of The Sleuth Kit (`-md5.idx`, `-sha1.idx`; `HEX|OFFSET` behind two lines of head),
  but for those whose head says that they were made of an NSRL set, which lists known-good files;
- hash sets as X-Ways exports them (the first line is the word `MD5`, `SHA-1` or `SHA-256`);
- HashKeeper's CSV, told by its header; its values are MD5.

Taken over: the digests, and of HashKeeper the size. Never taken over: names, folders, comments,
offsets. A line that fits none of the forms is rejected alone.

A bare value of 64 digits may be a SHA-256 or a PDQ code, and read as the wrong one it would never
match. So such a file needs the option `kind`, unless its first line names the kind.

A file that was cut off inside a value is refused: its last line has no line end, and its value is
too short, or of another kind than all others. Cut off elsewhere, it cannot be told from a whole
one. These files know no retractions and no classes.

Options:
    behind: `names`: what stands behind the values are names of files, even where a tab sets them
        apart, or the same few come again and again. Without it such a file is refused: it is most
        likely a table, whose further cells may say what is withdrawn.
    kind: `md5`, `sha1` or `sha256`: what all values are; any other value is rejected. Or
        `by_length`: the number of digits tells, and no value of 64 is a PDQ code.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import csv
from hashlists.formats.advice import INSPECT, cut_line
from hashlists.formats.base import (
    BatchReader,
    Encoding,
    FileHeader,
    Format,
    HashColumn,
    Likeness,
    RawBatch,
)
from hashlists.formats.digest_lines import (
    KIND_OF_DIGITS,
    LISTED,
    LISTED_BY_TABS,
    Aside,
    Digest,
    behind,
    kind_named,
    read_line,
)
from hashlists.formats.encodings import kind_name
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.text_lines import LinePlaces, TextLines, detect, first_lines
from hashlists.formats.unreadable import refuse_unreadable, take_sample, why_unreadable
from hashlists.model import DIGEST_KINDS, HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.base import ListReader, Sample
    from hashlists.formats.text_lines import LineBlock
    from hashlists.limits import ImportLimits

_NAME: Final = "digests"
_OPTION: Final = "kind"
_BEHIND: Final = "behind"
_NAMES: Final = "names"
_BY_LENGTH: Final = "by_length"
_FIELD: Final = "value"
_HASHKEEPER: Final = re.compile(
    r'"?file_id"?,"?hashset_id"?,"?file_name"?,"?directory"?,"?hash"?,"?file_size"?(?:,.*)?',
    re.IGNORECASE,
)
_UNENDED_NOTE: Final = "last line without line end taken as whole"
_NOTES: Mapping[Aside, str] = {
    Aside.COMMENT: "comment left aside",
    Aside.ZERO: "all-zero value of an index left aside",
}
_LOOKED_AT: Final = 20
#: Of lines that all have something behind their values, below which repetition shows nothing.
_FEWEST_LINES: Final = 4
#: Different words that a status or a class has at most.
_FEW_WORDS: Final = 20
#: The name that the tools give standard input.
_STDIN_NAME: Final = "-"


class DigestsReader(BatchReader):
    """Iterates over a text file of digests (see `base.ListReader`); the module names the option.

    Raises:
        OptionsError: an option is unknown, or is needed and was not given.
        FormatError: none of the first lines holds a digest, it is a table, or an index of an NSRL
            set.
    """

    format: Final = _NAME

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits, sample: Sample
    ) -> None:
        head = first_lines(sample.head)
        self._named = kind_named(head[0])
        self._kind = _kind_option(options, self._named)
        self._bare_sha256 = self._kind is not None or options.get(_OPTION) == _BY_LENGTH
        self._names_behind = _names_behind(options)
        self._listed = LISTED_BY_TABS if self._names_behind else LISTED
        _require_digests(head, names_behind=self._names_behind)
        if not self._names_behind:
            _refuse_few_words(head)
        _refuse_nsrl(head[0])
        self._header = FileHeader(self.format, "", "", "")
        self._lines = TextLines(stream, limits)
        self._seen: set[HashKind] = set()
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The name of the format; such files say nothing of themselves."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        return self._lines.bytes_read

    def _read(self) -> Iterator[RawBatch]:
        for block in self._lines.blocks():
            batch = self._alike(block) or self._singly(block)
            if batch.rows or batch.rejections or batch.notes:
                yield batch

    def _alike(self, block: LineBlock) -> RawBatch | None:
        """A block whose lines all begin with a value of one kind; None for any other.

        Quick, since a file is mostly so. It takes only what `read_line` would take as well.
        """
        matches = list(map(self._listed.fullmatch, block.lines))
        if block.open_ended or not all(matches):
            return None
        values = [match[1] for match in matches if match is not None]
        sizes = set(map(len, values))
        kind = KIND_OF_DIGITS.get(sizes.pop()) if len(sizes) == 1 else None
        if kind is None or self._kind not in (None, kind) or "0" * 32 in "".join(values):
            return None
        if kind is HashKind.SHA256 and not self._bare_sha256 and _any_bare(block, matches):
            return None
        self._seen.add(kind)
        return self._batch(
            {kind: values}, range(block.first, block.first + len(values)), rows=len(values)
        )

    def _singly(self, block: LineBlock) -> RawBatch:
        """A block of lines of any form, each by itself."""
        columns: dict[HashKind, list[str | None]] = {kind: [] for kind in DIGEST_KINDS}
        numbers: list[int] = []
        rejections: list[Rejection] = []
        notes: Counter[str] = Counter()
        for number, line in enumerate(block.lines, start=block.first):
            found = self._read_line(number, line)
            if isinstance(found, Aside):
                if found in _NOTES:
                    notes[_NOTES[found]] += 1
            elif isinstance(found, Digest):
                numbers.append(number)
                for kind, column in columns.items():
                    column.append(found.digits if kind is found.kind else None)
            else:
                _refuse_cut(block, number, found)
                rejections.append(Rejection(Place("line", number), _FIELD, found))
        if block.open_ended and numbers:
            self._refuse_cut_value(next(k for k in DIGEST_KINDS if columns[k][-1]), numbers[-1])
            notes[_UNENDED_NOTE] += 1
        self._seen.update(kind for kind, column in columns.items() if any(column))
        return self._batch(
            {kind: column for kind, column in columns.items() if any(column)},
            numbers,
            rows=len(numbers),
            rejections=rejections,
            notes=notes,
            open_ended=block.open_ended and bool(numbers),
        )

    def _read_line(self, number: int, line: str) -> Digest | Aside | str:
        if number == 1 and self._named is not None:
            return Aside.EMPTY
        found = read_line(line, names_behind=self._names_behind)
        if not isinstance(found, Digest):
            return found
        if found.bare and found.kind is HashKind.SHA256 and not self._bare_sha256:
            raise OptionsError(
                f"line {number}: a bare value of 64 digits may be a SHA-256 or a PDQ code; say"
                " --option kind=sha256 if all values are SHA-256, kind=by_length if there are"
                " other digests, too (PDQ codes: --format threatexchange-text, --option type=pdq)"
            )
        if self._kind not in (None, found.kind):
            return f"{kind_name(found.kind)} where all values are said to be of another kind"
        return found

    def _refuse_cut_value(self, kind: HashKind, number: int) -> None:
        """A last value without line end must be of a kind that came before: a cut one is not."""
        if self._seen and kind not in self._seen:
            raise cut_line(
                "has a value of another length than all others", Place("line", number), unit="value"
            )

    def _batch(  # what a batch is made of
        self,
        columns: Mapping[HashKind, Sequence[str | None]],
        numbers: Sequence[int],
        *,
        rows: int,
        rejections: Sequence[Rejection] = (),
        notes: Mapping[str, int] | None = None,
        open_ended: bool = False,
    ) -> RawBatch:
        return RawBatch(
            rows=rows,
            header=self._header,
            hashes=[
                HashColumn(kind, values, Encoding.HEX, _FIELD) for kind, values in columns.items()
            ],
            place_at=LinePlaces(numbers),
            rejections=rejections,
            notes=notes or {},
            open_ended=open_ended,
        )


def open_reader(stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> ListReader:
    """Opens a text file of digests; HashKeeper's is read as the CSV file that it is.

    Raises:
        OptionsError: an option is unknown, or is needed and was not given.
        FormatError: the file is of another format.
    """
    refuse_unknown_options(options, (_BEHIND, _OPTION), _NAME)
    sample = take_sample(stream)
    refuse_unreadable(sample)
    head = first_lines(sample.head)
    if not _HASHKEEPER.fullmatch(head[0]):
        return DigestsReader(stream, options, limits, sample)
    if options.get(_OPTION, _BY_LENGTH) not in (_BY_LENGTH, HashKind.MD5):
        raise OptionsError("HashKeeper's values are MD5; leave the option kind out")
    return csv.CsvReader(stream, _hashkeeper_options(sample.head, head[0]), limits)


def _hashkeeper_options(head: bytes, header: str) -> Mapping[str, str]:
    names = {name.strip('" ').lower(): name.strip('" ') for name in header.split(",")}
    codec, skipped = detect(head)
    encoding = "utf-16" if codec != "latin-1" else "utf-8" if skipped else "latin-1"
    return {
        "columns.md5": names["hash"],
        "columns.size": names["file_size"],
        "encoding": encoding,
    }


def _kind_option(options: Mapping[str, str], named: HashKind | None) -> HashKind | None:
    said = options.get(_OPTION)
    if said in (None, _BY_LENGTH):
        return named
    if said not in tuple(DIGEST_KINDS):
        raise OptionsError(f"the option kind must be md5, sha1, sha256 or by_length, not {said!r}")
    kind = HashKind(said)
    if named not in (None, kind):
        raise OptionsError("the file's first line names another kind of digest than the option")
    return kind


def _names_behind(options: Mapping[str, str]) -> bool:
    said = options.get(_BEHIND)
    if said not in (None, _NAMES):
        raise OptionsError(f"the option {_BEHIND} must be {_NAMES}, not {said!r}")
    return said is not None


def _require_digests(lines: Sequence[str], *, names_behind: bool) -> None:
    """Refuses a file that surely is another, before each of its lines is rejected."""
    found = [read_line(line, names_behind=names_behind) for line in lines]
    if not any(isinstance(each, Digest) for each in found):
        for number, each in enumerate(found, start=1):
            if isinstance(each, str) and isinstance(
                read_line(lines[number - 1], names_behind=True), Digest
            ):
                raise FormatError(each, place=Place("line", number))
        raise FormatError(
            "none of the first lines holds a digest: expected HEX, HEX and a name,"
            " KIND (NAME) = HEX, an index of The Sleuth Kit, or HashKeeper's CSV; " + INSPECT
        )


def _refuse_few_words(lines: Sequence[str]) -> None:
    """Refuses a file where the same few words stand behind the values, as those of a status."""
    words = [word for line in lines if (word := behind(line)) and word != _STDIN_NAME]
    if len(words) >= _FEWEST_LINES and len(set(words)) <= min(_FEW_WORDS, len(words) // 2):
        raise OptionsError(
            "the same few words come again and again behind the values; they would not be read,"
            " and may say that a record is withdrawn, or of which class it is: make it a table with"
            " a first line that names its columns, and import that as csv; if they are names of"
            f" files, say --option {_BEHIND}={_NAMES}"
        )


def _refuse_nsrl(line: str) -> None:
    """Refuses an index of known-good files, which could go into a list of abuse unnoticed."""
    if re.fullmatch(r"0{41}\|nsrl\s*", line, re.IGNORECASE):
        raise FormatError(
            "the index was made of an NSRL set, which lists known-good files; import NSRLFile.txt"
            " itself as nsrl-csv, into a list of harm known_good",
            place=Place("line", 1),
        )


def _any_bare(block: LineBlock, matches: Sequence[re.Match[str] | None]) -> bool:
    pairs = zip(block.lines, matches, strict=True)
    return any(match is not None and not line[match.end(1) :].strip() for line, match in pairs)


def _refuse_cut(block: LineBlock, number: int, problem: str) -> None:
    if block.open_ended and number == block.first + len(block.lines) - 1:
        raise cut_line(f"does not hold a whole record ({problem})", Place("line", number))


def looks_like(sample: Sample) -> Likeness | None:
    """Tells the families by their first lines."""
    lines = first_lines(sample.head)
    if why_unreadable(sample) is not None:
        return None
    if _HASHKEEPER.fullmatch(lines[0]):
        return Likeness(95, "the first line names the columns of a HashKeeper hash set")
    if re.fullmatch(r"0{41}\|.*", lines[0]):
        return Likeness(95, "the first line is the head of an index of The Sleuth Kit")
    whole = lines if sample.whole else lines[:-1]
    return _likeness_of_lines(kind_named(lines[0]), [line for line in whole if line.strip()])


def _likeness_of_lines(named: HashKind | None, lines: Sequence[str]) -> Likeness | None:
    records = [read_line(line) for line in lines[1 if named else 0 :][:_LOOKED_AT]]
    digests = [each for each in records if isinstance(each, Digest)]
    wrong = sum(isinstance(each, str) for each in records)
    if not digests or wrong >= len(digests):
        return None
    found = {each.kind for each in digests}
    kinds = ", ".join(kind_name(kind) for kind in DIGEST_KINDS if kind in found)
    if named is not None:
        return Likeness(80, f"the first line is the word {kind_name(named)}, values of it follow")
    if all(each.bare for each in digests):
        return _likeness_of_bare(found, kinds)
    return Likeness(70, f"lines of a digest and a name, as checksum tools write them ({kinds})")


def _likeness_of_bare(kinds: set[HashKind], words: str) -> Likeness:
    if HashKind.SHA256 not in kinds:
        return Likeness(50, f"one value on each line, as long as {words}")
    return Likeness(
        40, "one value of 64 digits on each line: SHA-256 (then kind=sha256), or PDQ codes"
    )


FORMAT = Format(
    _NAME,
    "Text files of digests (md5sum, X-Ways, HashKeeper, .idx)",
    open_reader=open_reader,
    looks_like=looks_like,
)

__all__ = ["FORMAT", "DigestsReader", "looks_like", "open_reader"]
