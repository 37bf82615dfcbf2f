"""What a person types for a place, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.scan.errors import SourceError
from matcher.scan.sources.addresses import Address, check_endpoint, is_plain_http, place_of, split


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/data/pictures", "/data/pictures"),
        ("/data/pictures/", "/data/pictures"),
        ("file:///data/some%20pictures", "/data/some pictures"),
        ("FILE://localhost/data", "/data"),
        ("/data/100%20", "/data/100%20"),
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/", "s3://bucket/"),
        ("S3://bucket/a/b", "s3://bucket/a/b/"),
        ("gs://bucket/a b/100%/ü", "gs://bucket/a b/100%/ü/"),
        ("az://container/a/", "az://container/a/"),
        ("az://$web/a", "az://$web/a/"),
        ("s3://bucket/a#b", "s3://bucket/a#b/"),
    ],
)
def test_places(text: str, url: str) -> None:
    place = place_of(text)
    assert (place.url, place.inventory, place.endpoint) == (url, "", "")
    assert split(place.url).url == place.url


def test_a_folder_is_taken_from_where_one_stands(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("pictures").url == str(tmp_path / "pictures")
    assert place_of(".").url == str(tmp_path)
    assert place_of("./s3:/x").url == str(tmp_path / "s3:" / "x")
    assert place_of("s3").url == str(tmp_path / "s3")


def test_an_address_in_parts() -> None:
    assert split("s3://bucket/a/b") == Address("s3", "bucket", "a/b/")
    assert split("/data") == Address("file", "", "/data")


def test_inventory_and_endpoint() -> None:
    place = place_of(
        "s3://bucket", inventory="s3://lists/x/manifest.json", endpoint="https://store:9000"
    )
    assert place.inventory == "s3://lists/x/manifest.json"
    assert place.endpoint == "https://store:9000"
    assert place_of("s3://b2b", inventory="x.csv").inventory == str(Path("x.csv").absolute())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the path is empty"),
        ("a\0b", "a NUL in it"),
        ("file://host/data", "file:///absolute/path"),
        ("file:data\udcff", "no UTF-8"),
        ("s3:/bucket/x", "written as s3://bucket/prefix, .* given as ./s3:"),
        ("S3:bucket", "written as s3://bucket/prefix"),
        ("gs:/bucket", "written as gs://bucket/prefix"),
        ("az:/", "written as az://bucket/prefix"),
        ("file:/data", "written as file:///absolute/path"),
        ("/data/\udcff", "no UTF-8"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("s3://b_cket!/x", "s3://bucket/prefix"),
        ("gs://bucket/\udcff", "no UTF-8"),
        ("https://bucket.example/x", "https:// is not scanned"),
        ("ftp://host/x", "ftp:// is not scanned"),
    ],
)
def test_what_is_no_place(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        place_of(text)


SECRETS = (
    "s3://KEYHIDDEN:SECRETHIDDEN@bucket/x",
    "s3://KEYHIDDEN@bucket/x",
    "s3://bucket:HIDDEN/x",
    "gs://bucket/x?X-Goog-Signature=HIDDEN",
    "az://container/x?sig=HIDDEN",
    "file://HIDDEN@host/x",
    "https://user:HIDDEN@host/x",
)


@pytest.mark.parametrize("text", SECRETS)
def test_no_error_repeats_a_credential(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        place_of(text)
    assert "HIDDEN" not in str(caught.value)
    with pytest.raises(SourceError) as caught:
        place_of("s3://bucket", inventory=text)
    assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://user:HIDDEN@store",
        "https://store/?token=HIDDEN",
        "https://store/#HIDDEN",
        "https://store:HIDDEN",
        "https://[HIDDEN",
        "ftp://store-HIDDEN",
        "store-HIDDEN:9000",
        "https://",
    ],
)
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(SourceError) as caught:
        place_of("s3://bucket", endpoint=endpoint)
    assert "HIDDEN" not in str(caught.value)


def test_a_folder_has_no_endpoint() -> None:
    with pytest.raises(SourceError, match="no endpoint"):
        check_endpoint("https://store", "file")


def test_plain_http_is_for_this_machine() -> None:
    assert is_plain_http("http://store:9000")
    assert not any(
        map(
            is_plain_http,
            ("https://store", "http://127.0.0.1:1", "http://localhost", "http://[::1]:2"),
        )
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="?\0"), max_size=30))
def test_any_prefix_stays_as_it_is(prefix: str) -> None:
    address = split(f"s3://bucket/{prefix}")
    assert address.path.removesuffix("/") == prefix.removesuffix("/")
    assert split(address.url) == address
