"""A token gives back what was sealed in it, to whom it was sealed for, while it counts."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.model import CODE_KINDS, DIGEST_KINDS, HashKind
from matcher.errors import BrokenSealError, TokenExpiredError
from matcher.model import ImageHashes, ViewHashes
from matcher.policy.views import VIEW_NAMES
from matcher.sealing import KeySource
from matcher.tokens import MAX_TOKEN_BYTES, Tokens, from_bytes, to_bytes

KEYS = KeySource("keys:" + "ab" * 32)
TOKENS = Tokens(KEYS, days=10)
DAY = 86_400
NOW = 1_800_000_000


def values(kinds):
    return st.fixed_dictionaries(
        {},
        optional={kind: st.binary(min_size=kind.nbytes, max_size=kind.nbytes) for kind in kinds},
    )


views = st.lists(
    st.builds(
        ViewHashes,
        view=st.sampled_from(sorted({*VIEW_NAMES, "frame:3", "trimmed"})),
        quality=st.integers(0, 100),
        codes=values(CODE_KINDS),
    ),
    max_size=16,
).map(tuple)
hashes = st.builds(
    ImageHashes,
    digests=values(DIGEST_KINDS),
    size=st.none() | st.integers(0, 2**63 - 1),
    views=views,
    photodna=st.none() | st.binary(min_size=144, max_size=144),
)
clients = st.text(max_size=20)


@given(hashes, clients)
def test_a_token_gives_back_what_was_sealed(known, client):
    token = TOKENS.seal(known, client, now=NOW)
    assert len(token) <= MAX_TOKEN_BYTES
    assert TOKENS.open(token, client, now=NOW) == known


@given(hashes, st.integers(0, 2**32 - 1))
def test_the_form_is_read_as_it_was_written(known, sealed_at):
    assert from_bytes(to_bytes(known, sealed_at=sealed_at)) == (sealed_at, known)


@given(hashes, st.data())
def test_what_was_cut_off_or_goes_on_is_no_token(known, data):
    written = to_bytes(known, sealed_at=NOW)
    cut = data.draw(st.integers(0, len(written) - 1))
    for broken in (written[:cut], written + b"x"):
        with pytest.raises(BrokenSealError):
            from_bytes(broken)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(noise):
    with contextlib.suppress(BrokenSealError):
        from_bytes(noise)
    with pytest.raises(BrokenSealError):
        TOKENS.open(noise, "", now=NOW)


@given(hashes, clients, clients)
def test_a_token_is_of_its_client_alone(known, client, other):
    token = TOKENS.seal(known, client, now=NOW)
    if client != other:
        with pytest.raises(BrokenSealError):
            TOKENS.open(token, other, now=NOW)


@pytest.mark.parametrize("age", [-3_600, 0, 10 * DAY])
def test_a_token_counts_for_its_days(age):
    token = TOKENS.seal(ImageHashes({}, None), "c", now=NOW)
    assert TOKENS.open(token, "c", now=NOW + age) == ImageHashes({}, None)


@pytest.mark.parametrize("age", [-3_601, 10 * DAY + 1])
def test_a_token_is_too_old_or_of_the_future(age):
    token = TOKENS.seal(ImageHashes({}, None), "c", now=NOW)
    with pytest.raises(TokenExpiredError):
        TOKENS.open(token, "c", now=NOW + age)


def test_what_is_too_long_is_none():
    with pytest.raises(BrokenSealError, match="longer"):
        TOKENS.open(bytes(MAX_TOKEN_BYTES + 1), "", now=NOW)


def test_the_largest_upload_has_a_token():
    codes = {kind: bytes(kind.nbytes) for kind in CODE_KINDS}
    largest = ImageHashes(
        {kind: bytes(kind.nbytes) for kind in DIGEST_KINDS},
        2**62,
        tuple(ViewHashes("trimmed+mirrored", 100, codes) for _ in range(64)),
        photodna=bytes(HashKind.PHOTODNA.nbytes),
    )
    token = TOKENS.seal(largest, "c" * 63, now=NOW)
    assert TOKENS.open(token, "c" * 63, now=NOW) == largest
