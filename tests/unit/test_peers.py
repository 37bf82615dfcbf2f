"""What one process tells, all others hear, and nobody waits for who does not listen."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from matcher.service.peers import Peers, Switchboard

pytestmark = pytest.mark.timeout(60)


class Heard(asyncio.Queue):
    """The messages that one process has heard."""

    async def next(self):
        return await asyncio.wait_for(self.get(), 30)


@pytest.fixture
async def switchboard():
    made = Switchboard()
    yield made
    made.close()


@pytest.fixture
async def join(switchboard):
    joined = []

    def another(take=None):
        heard = Heard()
        peers = Peers(switchboard.connect().detach())
        joined.append(peers)
        peers.hear(take or heard.put_nowait)
        return peers, heard

    yield another
    for each in joined:
        each.close()


async def test_all_others_hear_what_one_tells(join):
    (first, own), (_, second), (_, third) = join(), join(), join()
    first.tell({"hits": [1, 2]})
    first.tell({"flagged": 1})
    for heard in (second, third):
        assert [await heard.next() for _ in range(2)] == [{"hits": [1, 2]}, {"flagged": 1}]
    assert own.empty()


async def test_who_has_ended_is_forgotten(join):
    (first, _), (second, _), (_, third) = join(), join(), join()
    second.close()
    for number in range(3):
        first.tell({"flagged": number})
        assert await third.next() == {"flagged": number}
    second.tell({"flagged": 9})
    first.tell({"flagged": 10})
    assert await third.next() == {"flagged": 10}


async def test_who_does_not_listen_holds_up_nobody(switchboard, join):
    (first, _), (_, third) = join(), join()
    deaf = switchboard.connect()
    with deaf:
        for number in range(3_000):
            first.tell({"flagged": number, "filling": "." * 1_000})
            assert (await third.next())["flagged"] == number
        deaf.settimeout(30)
        assert json.loads(deaf.recv(4_096))["flagged"] == 0


async def test_without_a_supervisor_each_goes_on_alone(switchboard, join):
    first, heard = join()
    switchboard.close()
    for _ in range(3):
        first.tell({"flagged": 1})
        await asyncio.sleep(0)
    assert heard.empty()
    first.close()


async def test_what_is_not_understood_is_left_aside(switchboard, join, caplog):
    heard = Heard()

    def take(message):
        heard.put_nowait(int(message["flagged"]))

    _, (other, _) = join(take), join()
    stranger = switchboard.connect()
    with stranger:
        for message in (b"no JSON", b"[1]", b'{"flagged": "one"}', b"\xff"):
            stranger.send(message)
        stranger.send(b'{"flagged": 7}')
        assert await heard.next() == 7
    assert "not understood" in caplog.text
    assert "one" not in caplog.text.replace("another", "").replace("none", "")
    other.tell({"hits": [10**9] * 10_000})
    other.tell({"flagged": 8})
    assert await heard.next() == 8, "a message beyond the limit was passed on in part"


async def test_a_connection_is_of_one_process_alone(switchboard):
    end = switchboard.connect()
    with end:
        assert end.type == socket.SOCK_SEQPACKET
        assert not end.get_inheritable()


@pytest.mark.parametrize("nonsense", [b"not json", b"[" * 30_000, b'{"hits": [Infinity]}', b"{}"])
async def test_what_a_liar_tells_is_left_aside(switchboard, join, caplog, nonsense):
    heard = Heard()

    def take(message):
        for each in map(int, message["hits"]):
            heard.put_nowait(each)

    _, other = join(take)
    liar = switchboard.connect()
    for message in (nonsense, nonsense, b'{"hits": [7]}'):
        liar.send(message)
    assert await heard.next() == 7
    assert caplog.text.count("not understood") == 1
    assert other.empty()
    liar.close()
