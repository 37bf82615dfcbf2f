"""Writes list files of any format and size with made-up records, the same for the same seed.

The values are random bytes: they are nobody's hashes. Invariants: a file of fewer records is the
beginning of a longer one of the same seed; record by record, all formats have the same values; but
for the databases memory does not grow with the number of records. No file is of a real source: the
layouts are those that `docs/formats.md` names.

    python -m loadtest.generate_lists vics list.json --records 1000000
"""

from __future__ import annotations

from loadtest.generate_lists.lists import LISTS, ListFile, format_of, write_list

__all__ = ["LISTS", "ListFile", "format_of", "write_list"]
