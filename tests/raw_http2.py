"""A client of HTTP/2 that does what libraries never do: falls silent, and takes no data.

Frames are those of RFC 9113; header fields are written literally (RFC 7541, 6.2.2).
"""

from __future__ import annotations

import socket
import struct
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW = 4
_USUAL_WINDOW = 65_535
_CONNECTION = 0
_MOST_OF_A_FRAME = 16_384
_HELLO_SECONDS = 100


class RawClient:
    """A connection that has said hello, and says nothing more by itself.

    Args:
        address: `host:port`.
        window: bytes of data that it takes for each call; None for what is usual.
        preface: say hello at all.
        source: address that it calls from.

    Attributes:
        answered: calls of which a message came back.
        ended: calls that the server has ended, as far as was read.
    """

    def __init__(self, address, *, window=None, preface=True, source=""):
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), source_address=(source, 0))
        self._stream = -1
        self._rest = b""
        self._first_window = _USUAL_WINDOW
        self._windows = {_CONNECTION: _USUAL_WINDOW}
        self.answered = set()
        self.ended = set()
        if preface:
            said = b"" if window is None else struct.pack(">HI", _INITIAL_WINDOW, window)
            self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, said))
            kind, *_ = next(self._frames(_HELLO_SECONDS))
            assert kind == _SETTINGS

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def call(self, path, *messages, ends=False):
        """Begins a call and sends whole messages; its number."""
        self._stream += 2
        self._windows[self._stream] = self._first_window
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(_literal(name, value) for name, value in fields.items())
        sent = [_frame(_HEADERS, _END_HEADERS, self._stream, block)]
        body = b"".join(struct.pack(">BI", 0, len(each)) + each for each in messages)
        assert len(body) < _USUAL_WINDOW, "more than the server takes at first"
        for at in range(0, len(body), _MOST_OF_A_FRAME):
            sent.append(_frame(_DATA, 0, self._stream, body[at : at + _MOST_OF_A_FRAME]))
        if ends:
            sent.append(_frame(_DATA, _END_STREAM, self._stream, b""))
        self._socket.sendall(b"".join(sent))
        self._windows[_CONNECTION] -= len(body)
        self._windows[self._stream] -= len(body)
        return self._stream

    def begin_message(self, stream, size, *, seconds):
        """Sends all of a message but its last byte, or until the server has ended its call.

        Args:
            stream: number of a call.
            size: of the message, bytes.
            seconds: after which it is an error.
        """
        left = memoryview(struct.pack(">BI", 0, size) + bytes(size - 1))
        frames = self._frames(seconds)
        while left and stream not in self.ended:
            most = min(self._windows[stream], self._windows[_CONNECTION], _MOST_OF_A_FRAME)
            if most > 0:
                part, left = bytes(left[:most]), left[most:]
                self._socket.sendall(_frame(_DATA, 0, stream, part))
                self._windows[stream] -= len(part)
                self._windows[_CONNECTION] -= len(part)
            else:
                next(frames)

    def until_reset(self, streams, *, seconds, answers=True):
        """Reads until the server has ended all these calls, by whatever frame.

        Args:
            streams: numbers of calls.
            seconds: after which it is an error.
            answers: pings, as an honest client does.
        """
        self._until(lambda: self.ended.issuperset(streams), seconds, answers=answers)

    def until_some_reset(self, count, *, seconds):
        """Reads until the server has ended so many calls, whichever; `seconds` as above."""
        self._until(lambda: len(self.ended) >= count, seconds)

    def _until(self, holds, seconds, *, answers=True):
        if holds():
            return
        for _ in self._frames(seconds, answers=answers):
            if holds():
                return
        raise AssertionError("the connection ended before its calls did")

    def until_closed(self, *, seconds):
        """Reads, and answers nothing, until the server closes the connection."""
        for _ in self._frames(seconds, answers=False):
            pass

    def _frames(self, seconds, *, answers=True):
        deadline = time.monotonic() + seconds
        while True:
            while len(self._rest) >= 9:
                size = int.from_bytes(self._rest[:3], "big")
                if len(self._rest) < 9 + size:
                    break
                kind, flags = self._rest[3], self._rest[4]
                stream = int.from_bytes(self._rest[5:9], "big") & 0x7FFFFFFF
                content, self._rest = self._rest[9 : 9 + size], self._rest[9 + size :]
                self._note(kind, flags, stream, content, answers=answers)
                yield kind, flags, stream, content
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                read = self._socket.recv(65_536)
            except ConnectionResetError:
                return
            if not read:
                return
            self._rest += read

    def _note(self, kind, flags, stream, content, *, answers):
        """What a frame means for what comes next; answers those that ask."""
        if kind == _DATA:
            self.answered.add(stream)
        elif kind == _WINDOW and stream in self._windows:
            self._windows[stream] += int.from_bytes(content, "big")
        elif kind == _SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", content):
                if name == _INITIAL_WINDOW:
                    for each in self._windows.keys() - {_CONNECTION}:
                        self._windows[each] += value - self._first_window
                    self._first_window = value
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and answers and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, content))
        elif kind == _RESET or (kind == _HEADERS and flags & _END_STREAM):
            self.ended.add(stream)


def _frame(kind, flags, stream, content):
    return len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content


def _literal(name, value):
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
