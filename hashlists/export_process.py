"""The export as a program: the child process of the service, `python -m hashlists.export_process`.

It takes one line of JSON from standard input: `{"catalog": URL, "request": {...}}`, as
`hashlists.exporting.request.request_to_dict` writes the request; a catalog's URL may hold a
password, and every user can list the arguments of a process. It answers on standard output with the
frames of `hashlists.exporting.frames`. It gives way to whatever else the machine does, writes no
file, and ends when its standard input does, so that it never outlives its parent.

No error that it tells, and nothing that it writes to standard error, holds a hash: of a bug it
tells the place alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hashlists.catalog import Catalog
from hashlists.errors import ExportProcessError, HashlistsError
from hashlists.exporter import export_to_stream
from hashlists.exporting.frames import FrameKind, FrameWriter
from hashlists.exporting.report import report_to_dict
from hashlists.exporting.request import request_from_dict

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where both want the processor, answering goes before exporting; an export alone has all of it.
_NICENESS = 10
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_FAILED = 1


def main() -> int:
    """Runs one export; see the module. Returns the exit status: 0, or 1 after an error."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # A frame is never torn by what some library prints.
    with os.fdopen(os.dup(_STDOUT), "wb") as pipe:
        os.dup2(_STDERR, _STDOUT)
        frames = FrameWriter(pipe)
        try:
            return _export(order, frames)
        except BrokenPipeError:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
            return _FAILED  # nobody is left to tell


def _end_with_parent() -> None:
    """Ends the process at once when nobody holds the other end of its standard input."""
    os.read(_STDIN, 1)
    os._exit(_FAILED)


def _export(order: Mapping[str, Any], frames: FrameWriter) -> int:
    try:
        with Catalog.open(order["catalog"], make=False) as catalog:
            request = request_from_dict(order["request"])
            report = export_to_stream(catalog, cast("BinaryIO", frames), request)
    except BrokenPipeError:
        raise
    except HashlistsError as error:
        return _fail(frames, error)
    except OSError as error:
        return _fail(frames, ExportProcessError(f"the export failed: {error.strerror}"))
    except Exception as error:  # noqa: BLE001 - its text may hold a hash, and stays here
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
        told = f"the export failed by a bug ({where}); please report it"
        return _fail(frames, ExportProcessError(told))
    frames.flush()
    frames.end(FrameKind.REPORT, report_to_dict(report))
    return 0


def _fail(frames: FrameWriter, error: HashlistsError) -> int:
    frames.end(FrameKind.ERROR, {"reason": error.reason, "message": str(error)})
    return _FAILED


if __name__ == "__main__":
    sys.exit(main())
