"""What an import counts whose records have each a handling of their own, and where it does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from hashlists.catalog import sweep
from hashlists.catalog.engine import writer
from hashlists.catalog.interning import intern_handlings
from hashlists.catalog.schema import change_handlings, handlings, staged_counts
from hashlists.catalog.staged_counts import KEPT_COUNTS
from hashlists.model import Handling, Retraction, SaidHandling
from tests.catalog_support import DEMO, Item, batch, ids_of, items, require_coverage, source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table

    from hashlists.catalog import Catalog, StagedImport, StageResult

KEPT = 3
BATCH = 8
NAMES = [f"r{number}" for number in range(3 * BATCH)]
FUTURE = datetime(2101, 1, 1, tzinfo=UTC)
WHO = {"author": "an operator", "reason": "told so"}


@pytest.fixture
def demo(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr("hashlists.catalog.open_change.KEPT_COUNTS", KEPT)
    catalog.create_list(DEMO, author="a person")
    return catalog


def end(name: str, later: int = 0) -> SaidHandling:
    return SaidHandling(expires_at=FUTURE + timedelta(hours=int(name[1:]), seconds=later))


def stage(staged: StagedImport, records: Sequence[Item], later: int = 0) -> StageResult:
    """Stages records, each with an end of use of its own."""
    said = [end(record.name, later) for record in records]
    own = [
        replace(record, handling=each.over(DEMO.handling))
        for record, each in zip(records, said, strict=True)
    ]
    return staged.stage(replace(batch(own), said_handlings=said))


def bring_all(catalog: Catalog) -> None:
    with catalog.begin_import("demo", source()) as staged:
        for first in range(0, len(NAMES), BATCH):
            stage(staged, items(*NAMES[first : first + BATCH]))
        staged.commit()


def rows_of(catalog: Catalog, table: Table) -> int:
    with catalog._engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_what_is_counted_goes_to_the_database_when_it_is_much(demo):
    with demo.begin_import("demo", source()) as staged:
        for first in range(0, len(NAMES), BATCH):
            stage(staged, items(*NAMES[first : first + BATCH]))
            assert len(staged._change.counts) <= BATCH  # that of the batch before is away
        assert rows_of(demo, staged_counts) == len(NAMES) - BATCH
        staged.commit()
    assert rows_of(demo, staged_counts) == 0
    require_coverage(demo)
    assert demo.get_list("demo").coverage.entries == len(NAMES)


def test_a_result_tells_what_was_accepted_by_kinds_alone(demo):
    with demo.begin_import("demo", source()) as staged:
        result = stage(staged, items(*NAMES))
    assert list(result.kinds.values()) == [len(NAMES)]


def test_changes_withdrawals_and_what_is_absent_are_counted(demo):
    bring_all(demo)
    with demo.begin_import("demo", source()) as staged:
        stage(staged, items(*NAMES[:BATCH]))
        stage(staged, items(*NAMES[BATCH : 2 * BATCH]), later=1)
        staged.stage_retractions([Retraction(Item(name).key, "") for name in NAMES[-5:]])
        absent = staged.absent()
        assert len(absent) == len(NAMES) - 2 * BATCH - 5
        staged.stage_absent(absent, reason="not listed")
        staged.commit()
    require_coverage(demo)
    assert demo.get_list("demo").coverage.entries == 2 * BATCH
    assert rows_of(demo, staged_counts) == 0


def test_retractions_that_were_committed_meanwhile_are_counted(demo):
    bring_all(demo)
    with demo.begin_import("demo", source()) as staged:
        stage(staged, items(*NAMES), later=1)
        demo.retract("demo", ids_of(demo, *NAMES[:BATCH]), **WHO)
        staged.commit()
    require_coverage(demo)
    assert demo.get_list("demo").coverage.entries == len(NAMES) - BATCH


def test_the_way_back_is_counted(demo):
    bring_all(demo)
    before = demo.head()
    with demo.begin_import("demo", source()) as staged:
        stage(staged, items(*NAMES[:BATCH], "r99"), later=1)
        staged.stage_retractions([Retraction(Item(name).key, "") for name in NAMES[BATCH:]])
        staged.commit()
    demo.rollback("demo", before, **WHO)
    require_coverage(demo)
    assert demo.get_list("demo").coverage.entries == len(NAMES)
    assert rows_of(demo, staged_counts) == 0


def test_an_import_that_is_given_up_leaves_none_of_it(demo, monkeypatch):
    monkeypatch.setattr(sweep, "_SWEPT_ROWS", 7)
    before = rows_of(demo, handlings)
    with demo.begin_import("demo", source()) as staged:
        stage(staged, items(*NAMES[:BATCH]))
        stage(staged, items(*NAMES[BATCH:]))
        assert rows_of(demo, handlings) == before + len(NAMES)
    for table in (staged_counts, change_handlings):
        assert rows_of(demo, table) == 0
    assert rows_of(demo, handlings) == before


def test_an_import_that_changes_nothing_leaves_none_of_it(demo):
    bring_all(demo)
    with demo.begin_import("demo", source()) as staged:
        staged.stage_retractions([Retraction(Item(name).key, "") for name in NAMES])
        stage(staged, items(*NAMES))
        assert staged.commit() is None
    require_coverage(demo)
    assert rows_of(demo, staged_counts) == 0


def test_most_imports_keep_it_in_memory():
    assert KEPT_COUNTS > 9_000  # by kinds and by what few handlings a list has


def test_equal_handlings_have_one_id_in_whatever_order(demo):
    sayings = [SaidHandling(originator=f"o{number % 7}") for number in range(50)]
    wholes = [Handling(f"o{number % 3}", ("a",)) for number in range(9)]
    with writer(demo._engine).begin() as connection:
        ids = intern_handlings(connection, sayings)
        assert intern_handlings(connection, sayings[::-1]) == ids[::-1]
        assert ids[:7] * 7 == ids[:49]
        assert len(set(ids)) == 7
        others = intern_handlings(connection, wholes)
        assert others == others[:3] * 3
        assert len({*others, *ids}) == 10
        assert intern_handlings(connection, []) == []
