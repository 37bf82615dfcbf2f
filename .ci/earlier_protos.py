"""Tells with which commit the wire contract is to be compared, or why with none.

The last release counts; where it lies on a branch of its own, the commit at which that branch left
ours; before the first release, the main line. Never what is checked out itself: that would prove
nothing, except of changes that are not committed yet.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOS = "protos"


def git(folder: Path, *arguments: str) -> str | None:
    """What git prints, None where it fails."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed program, no shell
    return done.stdout.strip() if done.returncode == 0 else None


def candidates(folder: Path) -> Iterator[str]:
    """Commits to compare with, best first."""
    for start in ("HEAD", "HEAD^"):
        if tag := git(folder, "describe", "--tags", "--abbrev=0", start):
            yield tag
    tags = git(folder, "tag", "--sort=-creatordate") or ""
    for other in (*tags.split(), "origin/main", "main"):
        if base := git(folder, "merge-base", "HEAD", other):
            yield base


def earlier_protos(folder: Path, wanted: str | None = None) -> str | None:
    """The commit to compare with, None where there is no earlier one that has protos.

    Args:
        folder: the checkout.
        wanted: taken in place of what is found, if given.
    """
    changed = git(folder, "diff", "--quiet", "HEAD", "--", PROTOS) is None
    for name in [wanted] if wanted else candidates(folder):
        commit = git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if commit is None or git(folder, "cat-file", "-e", f"{commit}:{PROTOS}") is None:
            continue
        if changed or commit != git(folder, "rev-parse", "HEAD"):
            return commit
    return None


def main() -> None:
    """Prints the commit, or to standard error that there is none; fails for a name git lacks."""
    folder, wanted = Path.cwd(), os.environ.get("BREAKING_AGAINST")
    if wanted and git(folder, "cat-file", "-e", f"{wanted}:{PROTOS}") is None:
        sys.exit(f"BREAKING_AGAINST={wanted} names no commit that has {PROTOS}/")
    commit = earlier_protos(folder, wanted)
    if commit is None:
        print(
            "buf breaking: nothing to compare, what is checked out is all there is", file=sys.stderr
        )
    else:
        print(commit)


if __name__ == "__main__":
    main()
