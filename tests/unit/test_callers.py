"""Where a call comes from, as far as bounds care."""

from __future__ import annotations

import asyncio

import pytest

from matcher.service.callers import current_place, note_place, place_of


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("ipv4:127.0.0.1:4711", "127.0.0.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4711", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:1", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("ipv6:[fe80::1%25eth0]:1", "fe80::/64"),
        ("ipv4:somewhere:1", "somewhere"),
        ("unix:/run/socket", "unix"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_is_told_without_its_port(peer, place):
    assert place_of(peer) == place


async def test_each_call_has_its_own():
    async def call(peer):
        note_place(peer)
        await asyncio.sleep(0)
        return current_place(), await asyncio.create_task(asyncio.sleep(0, current_place()))

    calls = (call("ipv4:192.0.2.1:1"), call("ipv4:192.0.2.2:1"))
    found = await asyncio.gather(*calls)
    assert found == [("192.0.2.1",) * 2, ("192.0.2.2",) * 2]
    assert current_place() == ""
