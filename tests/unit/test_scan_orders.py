"""Orders bring another machine to do what this one would."""

from __future__ import annotations

import builtins
from datetime import UTC, date, datetime

import msgspec
import pytest

from matcher.scan.document import Place
from matcher.scan.engines.orders import Orders, carried, engine_of
from matcher.scan.engines.ray import start_ray_engine
from matcher.scan.errors import EngineError
from matcher.scan.model import Batch, Listed, Outcome
from tests.scan_support import generation_of, picture

POLICIES = {
    "policies": {"strict": {"views": ["upright"]}},
    "allow": [{"sha256": "00" * 32, "reason": "ours", "expires": date(2031, 5, 6)}],
}


def orders(folder, **changes):
    told = {"places": (Place(str(folder)),), "image_bytes": 1 << 20, "revision": 7}
    return Orders(**(told | {"decode_sandbox": "off"} | changes))


def crossed(told):
    """As a worker gets them."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Orders)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "scanned"
    made.mkdir()
    for number in (1, 2):
        (made / f"{number}.png").write_bytes(picture(number))
    return made


@pytest.fixture
def snapshots(tmp_path):
    generation_of(tmp_path / "snapshots", [picture(2)])
    return tmp_path / "snapshots"


async def test_they_are_carried_out(folder, snapshots):
    batch = Batch(3, 0, (Listed("1.png"), Listed("2.png")))
    async with engine_of(crossed(orders(folder)), snapshots) as engine:
        assert engine.capacity == orders(folder).batches
        result = await engine.scan(batch)
    assert [each.id for each in result.records] == ["3-1", "3-2"]
    assert [each.outcome for each in result.records] == [Outcome.NO_KNOWN_MATCH, Outcome.MATCHED]


def test_dates_of_policies_cross_as_dates():
    """They are written without quotes, and nothing else than a date is taken for one."""
    when = datetime(2030, 1, 2, tzinfo=UTC)
    document = {"allow": [{"expires": date(2031, 5, 6)}, {"expires": when}], "n": 1}
    from matcher.scan.engines import orders as module

    told = crossed(orders("/", policies=carried(document)))
    assert module._brought(told.policies) == document


async def test_other_lists_than_those_meant_are_refused(folder, snapshots):
    with pytest.raises(EngineError, match="of revision 7, not of 8"):
        async with engine_of(orders(folder, revision=8), snapshots):
            pass


async def test_where_there_are_no_lists_nothing_begins(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="no snapshot"):
        async with engine_of(orders(folder), tmp_path / "empty"):
            pass


async def test_without_ray_it_is_told_how_to_install_it(folder, snapshots, monkeypatch):
    known = builtins.__import__

    def without_ray(name, *args, **options):
        if name == "ray":
            raise ImportError(name)
        return known(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(EngineError, match=r"pip install 'hashwarden\[ray\]'"):
        await start_ray_engine(orders(folder), snapshots, "snapshot")
