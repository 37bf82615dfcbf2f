"""From the bytes of a JPEG file to its PDQ code, against `threatexchange`'s `pdq_from_bytes`.

    python -m loadtest.decode_hash [--rounds N] [--smoke]

The files are scikit-image's bundled photographs at 1 megapixel. Ours is the decoder of the service
(every check of limits and format included) and `hash_views`; a further column adds the digests. The
floor is Pillow's bare decoding of luminance. Exit status 1 when ours takes more than a fifth of the
CPU time.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final

from PIL import Image
from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_bytes

from hashlists.model import HashKind
from loadtest import measure, photographs
from matcher.decode.limits import DecodeLimits
from matcher.decode.worker import decode
from matcher.hashing.digests import digest_bytes
from matcher.hashing.views import hash_views
from matcher.model import DecodeRequest, Undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence

_REQUIRED: Final = 5
_AIM: Final = 6.5
#: Of photographs decoded straight to luminance, against full RGB: never above.
_FARTHEST_BITS: Final = 8
_REQUEST: Final = DecodeRequest()
_LIMITS: Final = DecodeLimits()


def decode_and_hash(file: bytes) -> bytes:
    """Our PDQ code of one file.

    Raises:
        RuntimeError: it could not be decoded.
    """
    decoded = decode(file, _REQUEST, _LIMITS)
    if isinstance(decoded, Undecodable):
        raise RuntimeError(decoded.detail)  # noqa: TRY004 (not a mistake of the caller's)
    ((upright, *_),) = hash_views([decoded], [_REQUEST])
    return upright.codes[HashKind.PDQ]


def decode_luminance(file: bytes) -> Image.Image:
    """The least that any hash of a JPEG file's pixels costs."""
    image = Image.open(io.BytesIO(file))
    image.draft("L", image.size)
    image.load()
    return image


def distances(files: Sequence[bytes]) -> list[int]:
    """Bits between our code and the peer's, for each file."""
    return [
        (int.from_bytes(decode_and_hash(file)) ^ int(pdq_from_bytes(file)[0], 16)).bit_count()
        for file in files
    ]


def main() -> int:
    """Prints the table; returns the exit status."""
    options = measure.arguments("JPEG to PDQ, beside threatexchange.", rounds=15)
    files = [photographs.jpeg_file(name) for name in photographs.NAMES]
    apart = distances(files)
    if max(apart) > _FARTHEST_BITS:
        print(f"codes differ from the peer's by up to {max(apart)} bits", file=sys.stderr)
        return 1
    took = measure.interleaved(
        {
            "threatexchange `pdq_from_bytes`": lambda: [pdq_from_bytes(file) for file in files],
            "ours: decode, all default views, PDQ": lambda: [decode_and_hash(f) for f in files],
            "ours, and MD5, SHA-1, SHA-256": lambda: [
                (digest_bytes(file), decode_and_hash(file)) for file in files
            ],
            "floor: Pillow decodes luminance": lambda: [decode_luminance(file) for file in files],
        },
        rounds=options.rounds,
    )
    peer, ours, *_ = took
    ratios = {name: measure.times_as_fast(timing, took[peer]) for name, timing in took.items()}
    print(
        f"{len(files)} JPEG files of 1 megapixel (quality {photographs.QUALITY}, 4:2:0, "
        f"{sum(map(len, files)) // len(files) // 1000} kB on average), "
        f"median of {options.rounds} rounds, CPU time\n"
    )
    print(measure.circumstances(("numpy", "pillow", "pdqhash", "threatexchange")))
    mean = sum(apart) / len(apart)
    print(f"- bits between our codes and theirs: mean {mean:.1f}, most {max(apart)}\n")
    rows = [
        (name, f"{timing.cpu_median / len(files) * 1e3:.2f}", str(ratios[name]))
        for name, timing in took.items()
    ]
    print(measure.markdown_table(("way", "ms a file", "times as fast"), rows))
    return measure.verdict({ours: ratios[ours]}, required=_REQUIRED, aim=_AIM, smoke=options.smoke)


if __name__ == "__main__":
    sys.exit(main())
