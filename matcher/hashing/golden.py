"""Golden vectors: proof, at start-up, that this machine computes the codes it should.

A library update or a faulty CPU that turned a bit would make matching fail silently, so a server
hashes a few tiny generated pictures before it says that it is ready, and compares with codes that
the reference packages (`pdqhash`, `imagehash`) and standards give for the same pixels.

The pictures are whole-number formulas of position, so they are the same everywhere; no coefficient
of theirs lies near a threshold. They cover what hashing does, not decoding or lookups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hashlists.model import HashKind
from matcher.errors import NotReadyError
from matcher.hashing.classical import codes64
from matcher.hashing.digests import digest_bytes
from matcher.hashing.pdq import luma_block, pdq_codes, pdq_dihedral_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def rings(height: int, width: int) -> NDArray[np.uint8]:
    """Luminance `(height, width) uint8`: off-centre rings over a slope."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    radius = (x - width // 3) ** 2 + (2 * y - height) ** 2 // 3
    rising = (97 * radius // (height + width)) % 173
    pixels: NDArray[np.int64] = (rising + 82 * x // width + 41 * y * x // (height * width)) % 256
    return pixels.astype(np.uint8)


def patchwork(height: int, width: int) -> NDArray[np.uint8]:
    """RGB `(height, width, 3) uint8`: patches of a different colour and size in each channel."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    red = (53 * (x * 9 // width) + 29 * (y * 7 // height) ** 2) % 256
    green = (31 * (x * 5 // width) * (y * 11 // height) + 7 * y) % 256
    blue = (17 * (x * 13 // width) ** 2 + 61 * (y * 3 // height)) % 256
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def block_means(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Means of 8 x 8 equal blocks of a square image whose side is a power of two, from 8 up."""
    size = len(pixels) // 8
    means: NDArray[np.float64] = pixels.reshape(8, size, 8, size).mean(axis=(1, 3))
    return means


def pictures() -> tuple[NDArray[np.uint8], ...]:
    """The pictures that `PDQ_CODES` and `PDQ_QUALITIES` belong to, in their order."""
    return rings(211, 300), patchwork(640, 97), rings(64, 64), rings(120, 90) // 20


def inputs64() -> Mapping[HashKind, NDArray[np.uint8] | NDArray[np.float64]]:
    """The input of each 64-bit kind that `CODES64` belongs to."""
    return {
        HashKind.PHASH: rings(32, 32),
        HashKind.DHASH: rings(8, 9),
        HashKind.AHASH: rings(8, 8),
        HashKind.WHASH: block_means(rings(64, 64)),
    }


#: For each picture its eight forms, in the order of `DIHEDRAL_FORMS`.
PDQ_CODES: Final[tuple[tuple[str, ...], ...]] = (
    (
        "1b4ce2d2ac71f695538ef4711c71bcb1e38e1ca11c71a953e38f1c331c719c6a",
        "7799a37775986098a377d898d888777759c8d9cc276788c988896777489dc889",
        "4e19487cf9245c3f06db5edbc924161bb6dbb61b492403f9b6dbb699492436c0",
        "20cc09dd20cdca32f62262328ddddddd0c9df36672322263dddccddd1dc8622b",
        "1b4c1d6dac71096a538e0b8e1c71434ee38ee35e1c7157ace38fe3cc1c716395",
        "4e59b7c7f924a7c006dba124c924e9e4b6db49f44924fd06b6db49664924c93f",
        "75995c8875989f67a3773767d888889859c8e6332767773688899888489d377e",
        "22ccf62220cd35cdf6229dcd8ddd22320c9d4c997232dddcdddc72221dc89ddc",
    ),
    (
        "719c39968d66d2b59367bc83136e4498cd984b723367bb676c90c36fcc886a92",
        "3c962e30c47921cf64dbda751a75150bd58bd58b3a742a34838605cb6e75e3cb",
        "26c9d73cd833781fce32163d463bee3298cde1d8663211cd39c569c599ddc038",
        "69c3c49a916c8b65398e70dfcf20bfa180de7f216f21849ed6d3af613b204963",
        "739cc6698d662d4a9b67437c136ebb67cd98b48d336744986c903c90cc99956d",
        "24c92cc3d83387e0c632e9c6463b11cd98cd3e276632ee3239c5963a99cd3fc7",
        "3c9691cfc439de3064db258a1a75eaf4d58b2a743a74d1c98386fa346e751c34",
        "69c37b65916c749a398ecf20cf20405e80de80de6f217f63d6d3549e3b20b69e",
    ),
    (
        "139112d5dd0edc8d6271ec6e11810b6afccefeae03711572fe8edcae2071d42a",
        "34cdc3320cca0d2235cccb22c9685ccfd2ccb24d0d7737cd35cd8b3325dd25dd",
        "46c5b8ff88db7627372446d446d4a1f0ab9b56245624bfd8abdb760475247e80",
        "6198699c599fa788609961889efdf765e79919e759629d676098219970888f77",
        "1391edaadd8e2372627113911381f5f5fece03710371ea8dfe8e635120712bd5",
        "46c44780885b89d83724b93b44d45e3fa99babfb56244027abdb89fb7524817f",
        "34cd3ccd0ccaf2dd35cc34ddc968a330d2cc4db20d77c83235cd74cc25ddda22",
        "61989667599f587760999e779efd099ae799e718596267986098de667088f088",
    ),
    (
        "ee53220dbb53258e6acfdc5510715e750d8e4c26e0717944aa8efd4cfc710aba",
        "a42e7289f82ed8edaddf6a79e809cf6f188950c9036358dd588da233b8c918dd",
        "bb0688a7ec068f243f1a76ff4524f4df58dbe288b52493eaffdb46e4a924a000",
        "f17bd823ad637243f88ac0939c5c65c145dcfa635636f2760dd80889ed98b276",
        "ee53ddf2b953da716a4e23aa1071a18a0d8eb3d9e07186bb8a8e02b1fc71f544",
        "bb067758ee0670db3f9b89004524092058db1d73b5240c15ffdbb919a9245fff",
        "a42e8d76f83e2716addf95c6e90930941889af360363a723588d5ddcb8c9ef22",
        "f17b27ccad6b8db8f88a3f2c9c5c9a3a45dc059c56360d880dd8f726ed984588",
    ),
)
PDQ_QUALITIES: Final = (100, 100, 100, 55)
CODES64: Final[Mapping[HashKind, str]] = {
    HashKind.PHASH: "b92fc6373b42c027",
    HashKind.DHASH: "3d3e3f3f3f3f3e3e",
    HashKind.AHASH: "fb1f060707070e1d",
    HashKind.WHASH: "070f070f0f1f0f1f",
}
#: Test vectors of RFC 1321 and FIPS 180-4.
DIGESTED: Final = b"abc"
DIGESTS: Final[Mapping[HashKind, str]] = {
    HashKind.MD5: "900150983cd24fb0d6963f7d28e17f72",
    HashKind.SHA1: "a9993e364706816aba3e25717850c26c9cd0d89d",
    HashKind.SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
}


def check() -> None:
    """Hashes the golden pictures and compares; takes some milliseconds.

    Raises:
        NotReadyError: a code is not what it should be; the message names the kinds at fault.
    """
    wrong = [*_wrong_pdq(), *_wrong_codes64(), *_wrong_digests()]
    if wrong:
        raise NotReadyError(
            f"self-test of hashing failed for {', '.join(wrong)}: codes made here would miss "
            "matches. Reinstall numpy and scipy in tested versions, or suspect the machine"
        )


def _wrong_pdq() -> list[str]:
    blocks = np.stack([luma_block(pixels) for pixels in pictures()])
    expected = np.array([[list(bytes.fromhex(code)) for code in forms] for forms in PDQ_CODES])
    codes, qualities = pdq_codes(blocks)
    found = {
        "pdq": np.array_equal(codes, expected[:, 0]),
        "pdq quality": qualities.tolist() == list(PDQ_QUALITIES),
        "mirrored pdq": np.array_equal(pdq_dihedral_codes(blocks), expected),
    }
    return [name for name, right in found.items() if not right]


def _wrong_codes64() -> list[str]:
    # Twice the same input: the batch axis is part of the test.
    return [
        kind.value
        for kind, pixels in inputs64().items()
        if {code.tobytes().hex() for code in codes64(kind, np.stack([pixels] * 2))}
        != {CODES64[kind]}
    ]


def _wrong_digests() -> list[str]:
    digests = digest_bytes(DIGESTED)
    found = {
        HashKind.MD5: digests.md5,
        HashKind.SHA1: digests.sha1,
        HashKind.SHA256: digests.sha256,
    }
    return [kind.value for kind, value in found.items() if value.hex() != DIGESTS[kind]]
