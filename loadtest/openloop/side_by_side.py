"""One command in as many processes at once as there are CPUs.

Two busy hardware threads of one core are each slower than one alone, and a server under load has
both. What is to be compared with it is therefore measured on a machine that is as busy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parents[2]


def side_by_side(arguments: Sequence[str]) -> list[bytes]:
    """What each process of the same Python command printed.

    Raises:
        RuntimeError: one failed; it has said why.
    """
    command = [sys.executable, *arguments]
    count = len(os.sched_getaffinity(0))
    children = [subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) for _ in range(count)]
    said = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError(f"`python {' '.join(arguments[:2])}` failed")
    return said
