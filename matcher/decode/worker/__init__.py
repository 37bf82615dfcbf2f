"""The worker's side of decoding: the only home of Pillow.

`decode` is pure apart from reading a monotonic clock: bytes in, arrays or a reason out, no file, no
network, no state between calls. It is safe to call from several threads. On import it sets two of
Pillow's process-wide switches, once and for good; `opening` says which and why.
"""

from __future__ import annotations

from matcher.decode.worker.decoder import decode
from matcher.decode.worker.selftest import supported_formats
from matcher.decode.worker.versions import versions

__all__ = ["decode", "supported_formats", "versions"]
