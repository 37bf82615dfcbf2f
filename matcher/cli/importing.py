"""What imports into the catalog of this machine and imports at a server have in common."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.errors import ListExistsError, ListNotFoundError
from hashlists.model import ListState
from hashlists.words import counted, one_or_many
from matcher.cli.asking import agreed, require_someone_to_ask
from matcher.cli.describing import HANDLING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.unpacking.age_files import Identity
    from matcher.cli.describing import Described

#: What a file is called that is standard input.
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class WholeOrder:
    """The files are the whole list: entries that they do not name are retracted.

    Attributes:
        yes: do not ask.
        force: retract whatever speaks against it.
    """

    yes: bool
    force: bool


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What the user asked for.

    Attributes:
        files: the list files, or one that is a pipe, or "-" for standard input.
        list_name: the list to fill.
        format, options: how the file is read.
        max_rejected_share: 0..1, or None for the setting of whoever imports.
        reason: kept with the revision.
        idempotency_key: the same key and file again give the first report again; None for none.
        described: what was said of the list.
        whole: what to do with entries that the files do not name; None: they stay.
        identities: private keys, for files that are encrypted.
        force: take files of Hashwarden that do not follow what the list had of their sender, and
            withdraw what is listed by nothing that can be matched, however much it is.
    """

    files: Sequence[Path]
    list_name: str
    format: str
    options: Mapping[str, str]
    max_rejected_share: float | None
    reason: str
    idempotency_key: str | None
    described: Described
    whole: WholeOrder | None = None
    identities: Sequence[Identity] = ()
    force: bool = False

    @property
    def shown_files(self) -> str:
        """The files in a word or two."""
        return self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"


@contextmanager
def seekable(file: Path, spool_dir: Path | None) -> Iterator[Path]:
    """The file, or what a pipe gives as a file without a name, which only this process can open.

    Args:
        file: what the user named.
        spool_dir: where the nameless file lies; made where it is missing. None for the folder of
            temporary files.
    """
    if file != STDIN and stat.S_ISREG(file.stat().st_mode):
        yield file
        return
    if spool_dir is not None:
        spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=spool_dir) as spooled:
        if file == STDIN:
            shutil.copyfileobj(sys.stdin.buffer, spooled)
        else:
            with file.open("rb") as pipe:
                shutil.copyfileobj(pipe, spooled)
        spooled.seek(0)
        yield Path(f"/dev/fd/{spooled.fileno()}")


def may_retract(list_name: str, absent: int, before: int, *, look_first: str) -> bool:
    """Asks whether the entries that a whole list does not name may be retracted.

    Args:
        list_name: the list.
        absent: entries that it does not name.
        before: all that are in force.
        look_first: how to see what would change, for where nobody can be asked; may be empty.

    Raises:
        RefusalError: nobody can be asked; says how many they are.
    """
    share = f" ({absent / before:.1%})" if before else ""
    what = f"{absent:,} of the {counted(before, 'entry', 'entries')}{share} of {list_name}"
    are = one_or_many(absent, "is", "are")
    require_someone_to_ask(
        otherwise=f"{what} {are} not in the file and would be retracted, so nothing was imported; "
        f"add --yes to --full to retract {one_or_many(absent, 'it', 'them')}{look_first}"
    )
    return agreed(f"Retract {what}, which {are} not in the file?")


def no_such_list(name: str) -> ListNotFoundError:
    """What to say where the list is not there and too little was said of it to create it."""
    return ListNotFoundError(f"no list is named {name}; add --harm and --source to create it")


def another_list(
    name: str, differing: Mapping[str, str], wanted: ListState | None, *, by: str = "import"
) -> ListExistsError:
    """What to say where the list is another, or in another state, than was described."""
    advice = f"{by} without that option, or name another list"
    if "state" in differing:
        act = "demote" if wanted is ListState.SHADOW else "promote"
        advice = f"an import does not change its state, `lists {act} {name}` does; {advice}"
    elif not HANDLING.isdisjoint(differing):
        advice = f"`lists handling {name}` changes that; {advice}"
    return ListExistsError(
        f"the list {name} exists already, and its {'; its '.join(differing.values())}; {advice}"
    )
