"""The catalog beside a plain model of it, through any sequence of changes that Hypothesis finds."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hashlists.catalog import Catalog, held_entries
from hashlists.model import HashKind, Retraction
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    in_force,
    names_in_force,
    require_coverage,
    source,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hashlists.catalog import StagedImport

WHO = {"author": "an operator", "reason": "why"}
NAMES = "abcdef"
KINDS = ((HashKind.MD5,), (HashKind.MD5, HashKind.PDQ), (HashKind.PHOTODNA,))


@dataclass(frozen=True)
class Known:
    """What the model knows of an entry."""

    item: Item
    by_source: bool = False
    by_operator: bool = False

    @property
    def in_force(self) -> bool:
        return not (self.by_source or self.by_operator)


records = st.lists(
    st.builds(
        Item,
        st.sampled_from(NAMES),
        st.sampled_from(KINDS),
        st.integers(min_value=0, max_value=2),
    ),
    max_size=6,
    unique_by=lambda item: item.name,
)
some_names = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)


class CatalogMachine(RuleBasedStateMachine):
    """An import may be under way while an operator retracts and restores."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copyfile(self.template, self.folder / "catalog.db")
        self.catalog = Catalog.open(f"sqlite:///{self.folder}/catalog.db")
        self.staged: StagedImport | None = None
        self.listed: dict[str, Item] = {}
        self.gone: set[str] = set()
        self.known: dict[str, Known] = {}
        self.ids: dict[str, int] = {}
        self.history: dict[int, dict[str, Known]] = {}
        self.mentioned: dict[int, set[str]] = {}  # by revision: names that the change spoke of
        self.marks: dict[int, str | None] = {}
        self.purged: dict[str, int] = {}  # by name: the revision that did it

    def teardown(self) -> None:
        if self.staged is not None:
            self.staged.abort()
        self.catalog.close()
        shutil.rmtree(self.folder)

    @initialize()
    def create(self) -> None:
        self.catalog.create_list(DEMO, author="a person")
        self._remember()

    def _remember(self, names: Iterable[str] = ()) -> None:
        head = self.catalog.head()
        self.history[head] = dict(self.known)
        self.mentioned.setdefault(head, set(names))
        self.ids.update(names_in_force(self.catalog))

    @precondition(lambda self: self.staged is None)
    @rule()
    def begin(self) -> None:
        self.staged = self.catalog.begin_import("demo", source())
        self.base = dict(self.known)
        self.listed, self.gone = {}, set()

    @precondition(lambda self: self.staged is not None)
    @rule(chosen=records)
    def stage(self, chosen: list[Item]) -> None:
        result = self.staged.stage(batch(chosen))
        at_odds = [
            item
            for item in chosen
            if item.name not in self.purged and self.listed.get(item.name, item) != item
        ]
        barred = [item for item in chosen if item.name in self.purged]
        assert (len(result.rejections), len(result.barred)) == (len(at_odds), len(barred))
        taken = len(chosen) - len(at_odds) - len(barred)
        assert result.added + result.updated + result.unchanged == taken
        for item in chosen:
            if item.name not in self.purged:
                self.listed.setdefault(item.name, item)
                self.gone.discard(item.name)

    @precondition(lambda self: self.staged is not None)
    @rule(names=some_names)
    def withdraw(self, names: list[str]) -> None:
        self.staged.stage_retractions([Retraction(Item(name).key, "") for name in names])
        self.gone |= {name for name in names if name in self.base and name not in self.listed}

    @precondition(lambda self: self.staged is not None)
    @rule()
    def commit(self) -> None:
        self.staged.commit()
        self.staged = None
        for name, item in self.listed.items():
            old = self.known.get(name, Known(item))
            self.known[name] = replace(old, item=item, by_source=False)
        for name in self.gone:
            self.known[name] = replace(self.known[name], by_source=True)
        self._remember(self.listed.keys() | self.gone)

    @precondition(lambda self: self.staged is not None)
    @rule()
    def abort(self) -> None:
        self.staged.abort()
        self.staged = None

    def _ids(self, names: list[str]) -> list[int]:
        return [self.ids[name] for name in names if name in self.known]

    @rule(names=some_names)
    def retract(self, names: list[str]) -> None:
        self.catalog.retract("demo", self._ids(names), **WHO)
        for name in self.known.keys() & set(names):
            self.known[name] = replace(self.known[name], by_operator=True)
        self._remember(names)

    @rule(names=some_names)
    def restore(self, names: list[str]) -> None:
        self.catalog.restore("demo", self._ids(names), **WHO)
        for name in self.known.keys() & set(names):
            self.known[name] = replace(self.known[name], by_operator=False, by_source=False)
        self._remember(names)

    @precondition(lambda self: self.staged is None)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.history)))
        self.catalog.rollback("demo", number, **WHO)
        then = self.history[number]
        for name, known in list(self.known.items()):
            if name in then:
                self.known[name] = then[name]
            elif known.in_force:
                self.known[name] = replace(known, by_source=True)
        self._remember(self.known)

    @precondition(lambda self: self.staged is None)
    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    def purge(self, names: list[str]) -> None:
        names = [name for name in names if name in self.known]
        if names:
            assert self.catalog.purge("demo", self._ids(names), **WHO).traces_wiped
            for name in names:
                del self.known[name]
            self.purged |= dict.fromkeys(names, self.catalog.head())
            self._remember(names)

    @rule()
    def retitle(self) -> None:
        """Touches no entry."""
        title = f"{len(self.history)}"
        self.catalog.update_list("demo", title=title, **WHO)
        self._remember()

    @invariant()
    def followers_are_told_what_changed(self) -> None:
        if not self.history:
            return
        name_of = {entry_id: name for name, entry_id in self.ids.items()}
        with self.catalog.read() as reader:
            head = reader.revision
            last_purge = max(self.purged.values(), default=0)
            assert reader.purge_mark == reader.revision_mark(last_purge)
            for since in {0, head // 2, head - 1, head}:
                changed = reader.changed_ids(since).tolist()
                assert changed == sorted(set(changed))
                names = {name_of.get(each, "never seen in force") for each in changed}
                surely, perhaps = self._touched_since(since)
                assert surely <= names <= perhaps | {"never seen in force"}
                assert reader.changed_count(since) >= len(changed)
                assert reader.purged_since(since) == any(n > since for n in self.purged.values())
                gone = {name_of[each] for each in reader.out_of_force_since(since).tolist()}
                then = {n for n, k in self.history.get(since, {}).items() if k.in_force}
                now = {n for n, known in self.known.items() if known.in_force}
                assert then - now <= gone <= names - now
                assert set(reader.ids_with_new_ends(since).tolist()) <= set(changed)
                looked_up = reader.entry_columns(entry_ids=reader.changed_ids(since), batch_size=2)
                assert {
                    name_of[each] for part in looked_up for each in part.entry_ids.tolist()
                } == names & now

    def _touched_since(self, since: int) -> tuple[set[str], set[str]]:
        """Names whose state some revision changed, and those that any of them spoke of."""
        surely: set[str] = set()
        perhaps: set[str] = set()
        for number in range(since + 1, max(self.history) + 1):
            before, after = self.history.get(number - 1, {}), self.history[number]
            surely |= {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
            perhaps |= self.mentioned[number]
        return surely, perhaps

    @invariant()
    def marks_stay_and_differ(self) -> None:
        if not self.history:
            return
        with self.catalog.read() as reader:
            for number in range(reader.revision + 1):
                mark = reader.revision_mark(number)
                assert mark is not None
                assert self.marks.setdefault(number, mark) == mark
            assert reader.revision_mark(reader.revision + 1) is None
        assert self.marks[0] == ""
        assert len(set(self.marks.values())) == len(self.marks)

    @invariant()
    def the_same_is_in_force(self) -> None:
        if not self.history:
            return
        expected = {
            name: set(known.item.hashes.items())
            for name, known in self.known.items()
            if known.in_force
        }
        found = in_force(self.catalog, batch_size=3)
        assert {name: found[self.ids[name]] for name in expected} == expected
        assert len(found) == len(expected)
        require_coverage(self.catalog)


@pytest.mark.timeout(170)
def test_the_catalog_is_its_model(sqlite_template, monkeypatch):
    monkeypatch.setattr(held_entries, "MAX_HELD", 4)  # so that a first import stores them at times
    monkeypatch.setattr(held_entries, "ARRANGED_FROM", 2)
    monkeypatch.setattr("hashlists.catalog.open_change.KEPT_COUNTS", 1)
    CatalogMachine.template = sqlite_template
    profile = settings()
    run_state_machine_as_test(
        CatalogMachine,
        settings=settings(
            max_examples=max(10, profile.max_examples // 3),
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
