"""What commands share: how many decoders they have."""

from __future__ import annotations

import pytest

from matcher.cli.context import Session


class Pool:
    """A pool of decoders that decodes nothing."""

    def close(self):
        pass


@pytest.mark.parametrize(
    ("setting", "asked", "decoders"),
    [("1", None, 1), ("2", None, 2), ("9", None, 2), ("1", 5, 5), ("9", 5, 5)],
)
def test_no_more_decoders_than_processors_unless_asked_for(
    tmp_path, monkeypatch, setting, asked, decoders
):
    made = []

    def pool(*_, workers, **__):
        made.append(workers)
        return Pool()

    monkeypatch.setenv("HASHWARDEN_DECODE_WORKERS", setting)
    monkeypatch.setattr("matcher.settings.machine.usable_cpus", lambda: 2)
    monkeypatch.setattr("matcher.decode.choosing.decode_pool", pool)
    with Session(tmp_path).decode_pool(asked):
        pass
    assert made == [decoders]
