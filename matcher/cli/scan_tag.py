"""`hashwarden scan tag`: marks what a scan has found where it lies.

What would be done is shown first, and nothing is done without a word. Content is never changed,
moved or deleted.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from hashlists.words import counted
from matcher.cli import reading, scan_folders
from matcher.cli.asking import agreed, can_ask
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_table, progress
from matcher.cli.scan_asked import parsed_tags
from matcher.cli.scan_words import outcome_words
from matcher.scan.model import FOUND, Outcome
from matcher.scan.tagging.model import Came, TagError, checked, found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hashlists.formats.unpacking.age_files import Identity
    from matcher.scan.document import Place
    from matcher.scan.state import ScanState
    from matcher.scan.tagging.model import Done, Tagger, Target

_AT_ONCE: Final = 16
_AHEAD: Final = 1_000
_MOST_TOLD: Final = 50
_NOT_ALL_TAGGED: Final = 2
_WELL: Final = frozenset({Came.TAGGED, Came.ALREADY})


@click.command("tag", short_help="Tag what a scan has found, after showing how much.")
@scan_folders.folder
@click.option(
    "--tag",
    "tags",
    multiple=True,
    required=True,
    metavar="KEY=VALUE",
    help="A tag to set. Repeat for several.",
)
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=click.Choice([each.value for each in FOUND]),
    help="Only what is matched, or only what needs review. Default: both.",
)
@reading.identity
@click.option("--yes", is_flag=True, help="Tag without asking.")
@pass_session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    *,
    folder: Path,
    tags: Sequence[str],
    outcomes: Sequence[str],
    key_files: Sequence[Path],
    yes: bool,
) -> None:
    """Tag objects that the scan in DIR has found.

    Objects in S3 get object tags, beside those that they have; files get extended attributes named
    user.hashwarden.KEY. First it is shown how many would be tagged and where; then it asks, and
    where nobody can be asked, nothing is tagged without --yes. An object that is not what was
    scanned any more is told and not tagged. No content is changed, moved or deleted. Each time is
    recorded in the audit.

    Exit status: 0 where all were tagged, or had the tags; 2 where one could not be.
    """
    with scan_folders.opened(folder) as state:
        wanted = [Outcome(each) for each in outcomes] or list(FOUND)
        ctx.exit(
            tag_found(
                session,
                state,
                parsed_tags(tags),
                yes=yes,
                outcomes=wanted,
                identities=reading.identities_of(key_files),
            )
        )


def require_taggable(tags: Mapping[str, str], places: Sequence[Place]) -> dict[str, str]:
    """The tags, if they can be set in all places.

    Raises:
        TagError: one is malformed, or a place knows no tags.
    """
    from matcher.scan.sources.addresses import split  # noqa: PLC0415  for scans alone

    for place in places:
        scheme = split(place.url).scheme
        if scheme not in {"file", "s3"}:
            raise TagError(
                f"nothing is tagged in {scheme}://: only objects in s3:// and files can be; read "
                "what was found from report.jsonl, and mark it by the cloud's own tools"
            )
    return checked(tags)


def tag_found(
    session: Session,
    state: ScanState,
    tags: Mapping[str, str],
    *,
    yes: bool,
    outcomes: Sequence[Outcome] = FOUND,
    identities: Sequence[Identity] = (),
) -> int:
    """Shows what would be tagged, asks, and tags it; gives the exit status.

    Raises:
        TagError: a place knows no tags, or cannot be reached.
        ReportError: the records are encrypted, and no key opens them.
        AuditError, AccessDatabaseError: nothing was done, as it cannot be recorded.
    """
    places = state.document.places
    tags = require_taggable(tags, places)
    count = _shown(found(state.records(identities), outcomes), places, tags)
    if not count:
        note("Nothing was found that could be tagged.")
        return 0
    if not yes and not _agreed(count):
        return _NOT_ALL_TAGGED
    details = {"tags": tags, "outcomes": [each.value for each in outcomes], "objects": count}
    with session.recorded("scan.tag", state.document.id, **details) as told:
        report = _tagged(found(state.records(identities), outcomes), places, tags, count)
        told.update({each.value: number for each, number in report.came.items()})
    report.tell(places)
    return 0 if set(report.came) <= _WELL else _NOT_ALL_TAGGED


def _agreed(count: int) -> bool:
    """Whether the person says yes; where there is nobody, nobody does."""
    if not can_ask():
        note("Nothing was tagged, since nobody can be asked here: add --yes to tag what is shown.")
        return False
    if not agreed(f"Tag {counted(count, 'object')}?"):
        note("Nothing was tagged.")
        return False
    return True


def _shown(targets: Iterator[Target], places: Sequence[Place], tags: Mapping[str, str]) -> int:
    """The dry run: how many objects of which outcomes would be tagged in which places."""
    counts = Counter((each.source, each.outcome) for each in targets)
    if counts:
        told = ", ".join(f"{key}={value}" for key, value in tags.items())
        print_table(
            ("place", "outcome", "objects", "would be tagged"),
            [
                (places[source].url, outcome_words(outcome), f"{number:,}", told)
                for (source, outcome), number in sorted(counts.items())
            ],
        )
    return counts.total()


@dataclass
class _Report:
    """What came of all objects, and of which it was not well."""

    came: Counter[Came] = field(default_factory=Counter)
    unwell: list[tuple[Target, Done]] = field(default_factory=list)

    def add(self, target: Target, done: Done) -> None:
        self.came[done.came] += 1
        if done.came not in _WELL and len(self.unwell) < _MOST_TOLD:
            self.unwell.append((target, done))

    def tell(self, places: Sequence[Place]) -> None:
        """Tells numbers, and the first of those that could not be tagged."""
        for target, done in self.unwell:
            note(f"not tagged ({done.came.value}): {_address(target, places)}: {done.detail}")
        told = sum(number for came, number in self.came.items() if came not in _WELL)
        if told > len(self.unwell):
            note(f"and {told - len(self.unwell):,} more that were not tagged")
        note(", ".join(f"{number:,} {_WORDS[came]}" for came, number in self.came.items()))


_WORDS: Final = {
    Came.TAGGED: "tagged",
    Came.ALREADY: "had these tags already",
    Came.CHANGED: "not tagged, since changed",
    Came.GONE: "not tagged, since gone",
    Came.LINK: "not tagged, since a link leads there",
    Came.FORBIDDEN: "not tagged, since this account may not",
    Came.UNSUPPORTED: "not tagged, since no tags are kept there",
    Came.FULL: "not tagged, for want of room",
    Came.FAILED: "not tagged, since that failed",
}


def _address(target: Target, places: Sequence[Place]) -> str:
    return f"{places[target.source].url.rstrip('/')}/{target.key}"


def _tagged(
    targets: Iterator[Target], places: Sequence[Place], tags: Mapping[str, str], count: int
) -> _Report:
    """Tags objects, several at a time; what goes wrong with one stops no other."""
    report = _Report()
    with (
        _Taggers(places) as taggers,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tag") as threads,
        progress("Tagging") as advance,
    ):
        while part := list(islice(targets, _AHEAD)):
            done = threads.map(lambda each: taggers.of(each.source).tag(each, tags), part)
            for target, came in zip(part, done, strict=True):
                report.add(target, came)
                advance(report.came.total(), count)
    return report


class _Taggers(ExitStack):
    """What tags in each place, opened before the first object is tagged."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__()
        self._taggers = [self._opened(each) for each in places]

    def of(self, source: int) -> Tagger:
        return self._taggers[source]

    def _opened(self, place: Place) -> Tagger:
        from matcher.scan.sources.addresses import split  # noqa: PLC0415  for scans alone

        address = split(place.url)
        if address.scheme == "file":
            from matcher.scan.tagging.attributes import FileTagger  # noqa: PLC0415

            return FileTagger(address.path)
        from matcher.scan.tagging.objects import ObjectTagger  # noqa: PLC0415  brings botocore

        tagger = ObjectTagger(address.bucket, address.path, place.endpoint)
        self.callback(tagger.close)
        return tagger


__all__ = ["command", "require_taggable", "tag_found"]
