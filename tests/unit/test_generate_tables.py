"""The generated tables are the same list in every format."""

from __future__ import annotations

import io

from loadtest.generate_tables import OPTIONS, WRITERS
from tests.export_support import read


def test_every_format_holds_the_same_entries():
    found = []
    for suffix, write in WRITERS.items():
        out = io.BytesIO()
        write(out, 50, 3)
        found.append(read(out.getvalue(), suffix.removeprefix("."), OPTIONS).rows)
    assert len(found[0]) == 50
    assert found[0] == found[1] == found[2]
