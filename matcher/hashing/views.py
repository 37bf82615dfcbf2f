"""Hashes of the views of many uploads at once.

All views of all images of a call are hashed as one batch of each kind, since at these sizes calls
cost more than arithmetic. Each view's codes are the same as if it were hashed alone.

The blocks come from a decode pool, which has checked their shapes, dtypes and finiteness: nothing
here guards against a hostile decoder. Nothing here judges quality either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import CODE64_KINDS, HashKind
from matcher.hashing.classical import codes64
from matcher.hashing.pdq import pdq_codes, pdq_dihedral_codes
from matcher.model import View, ViewHashes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matcher.model import DecodedImage, DecodeRequest, Float32Array, ViewBlocks


def hash_views(
    images: Sequence[DecodedImage], requests: Sequence[DecodeRequest]
) -> list[tuple[ViewHashes, ...]]:
    """Hashes every view of every image.

    Where `mirrored` views are asked for, the PDQ codes of the seven forms follow from the block of
    `upright`; forms that the decoder did not name (it does so only where a 64-bit kind needs their
    pixels) are added last, except those it reports as left out.

    Args:
        images: what the decoder gave back.
        requests: what it was asked for, one for each image.

    Returns:
        For each image its views, in the decoder's order. A view too small for PDQ has quality 0 and
        no PDQ code; a mirrored form has the quality of `upright`.

    Raises:
        ValueError: not as many requests as images.
    """
    if len(images) != len(requests):
        raise ValueError(f"{len(images)} images need as many requests, not {len(requests)}")
    hashers = [_ImageHasher(*pair) for pair in zip(images, requests, strict=True)]
    _fill_pdq(hashers)
    _fill_mirrored([hasher for hasher in hashers if hasher.wants_mirrored])
    for kind in CODE64_KINDS:
        _fill_codes64(hashers, kind)
    return [hasher.result() for hasher in hashers]


class _ImageHasher:
    """Gathers the codes of one image's views by name."""

    def __init__(self, image: DecodedImage, request: DecodeRequest) -> None:
        self.blocks: Mapping[str, ViewBlocks] = {view.view: view for view in image.views}
        self.qualities: dict[str, int] = dict.fromkeys(self.blocks, 0)
        self.codes: dict[str, dict[HashKind, bytes]] = {name: {} for name in self.blocks}
        if request.views.mirrored and self.upright_luma is not None:
            left_out = set(image.views_left_out)
            for name in View.MIRRORED:
                if name not in left_out and View.family(name) not in left_out:
                    self.qualities.setdefault(name, 0)
                    self.codes.setdefault(name, {})

    @property
    def upright_luma(self) -> Float32Array | None:
        upright = self.blocks.get(View.UPRIGHT)
        return upright.luma if upright else None

    @property
    def wants_mirrored(self) -> bool:
        return self.upright_luma is not None and not self.codes.keys().isdisjoint(View.MIRRORED)

    def result(self) -> tuple[ViewHashes, ...]:
        return tuple(
            ViewHashes(view=name, quality=self.qualities[name], codes=codes)
            for name, codes in self.codes.items()
        )


def _fill_pdq(hashers: Sequence[_ImageHasher]) -> None:
    places = [
        (hasher, name, view.luma)
        for hasher in hashers
        for name, view in hasher.blocks.items()
        if view.luma is not None
    ]
    if not places:
        return
    codes, qualities = pdq_codes(np.stack([luma for _, _, luma in places]))
    for (hasher, name, _), code, quality in zip(places, codes, qualities, strict=True):
        hasher.codes[name][HashKind.PDQ] = code.tobytes()
        hasher.qualities[name] = int(quality)


def _fill_mirrored(hashers: Sequence[_ImageHasher]) -> None:
    if not hashers:
        return
    lumas = [luma for hasher in hashers if (luma := hasher.upright_luma) is not None]
    forms = pdq_dihedral_codes(np.stack(lumas))[:, 1:]
    for hasher, codes in zip(hashers, forms, strict=True):
        for name, code in zip(View.MIRRORED, codes, strict=True):
            if name in hasher.codes:
                hasher.codes[name][HashKind.PDQ] = code.tobytes()
                hasher.qualities[name] = hasher.qualities[View.UPRIGHT]


def _fill_codes64(hashers: Sequence[_ImageHasher], kind: HashKind) -> None:
    places = [
        (hasher, name, view.inputs64[kind])
        for hasher in hashers
        for name, view in hasher.blocks.items()
        if kind in view.inputs64
    ]
    if not places:
        return
    codes = codes64(kind, np.stack([pixels for _, _, pixels in places]))
    for (hasher, name, _), code in zip(places, codes, strict=True):
        hasher.codes[name][kind] = code.tobytes()
