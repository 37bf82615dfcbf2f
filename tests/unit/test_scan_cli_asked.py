"""What a command line asks of a scan: forms of values, the document, and going on with it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
import pyrage
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hashlists.errors import EncryptionRecipientError
from matcher.cli import scan
from matcher.cli.scan_asked import Asked, formats_for, given_options, new_document, require_same
from matcher.cli.scan_group import ScanGroup
from matcher.cli.scan_options import scanning
from matcher.cli.scan_values import (
    NamesType,
    PartType,
    ShardType,
    SinceType,
    SizeType,
    When,
    WhenType,
    read_when,
)
from matcher.scan.document import Selection
from matcher.scan.errors import SourceError

RECIPIENT = str(pyrage.x25519.Identity.generate().to_public())


def beginning_of(folder):
    return 1_000_000.0


@click.command("scan", cls=ScanGroup, optional={"--keep-hashes": "90"})
@scanning
@click.pass_context
def probe(ctx, **values):
    ctx.obj.append((Asked(**values), given_options(ctx)))


@probe.command("status")
@click.argument("folder")
@click.pass_context
def below(ctx, folder):
    ctx.obj.append(("status", folder))


def typed(*arguments):
    """What a command line is read as."""
    told = []
    result = CliRunner().invoke(probe, arguments, obj=told, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return told[0]


def refused(*arguments):
    result = CliRunner().invoke(probe, arguments, obj=[], catch_exceptions=False)
    assert result.exit_code == 2
    return result.output


def document(*arguments):
    return new_document(typed(*arguments)[0], author="me", beginning_of=beginning_of)


# Values


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC).timestamp()),
        ("2026-01-31T12:00:00+01:00", datetime(2026, 1, 31, 11, tzinfo=UTC).timestamp()),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()),
        ("7d", 1e9 - 7 * 86_400),
        ("1.5h", 1e9 - 5_400),
        ("30m", 1e9 - 1_800),
        ("2w", 1e9 - 1_209_600),
        ("90s", 1e9 - 90),
    ],
)
def test_moments_are_dates_or_durations(text, moment):
    assert read_when(text).seconds(1e9) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "2026-13-01", "-7d"])
def test_what_is_no_moment_is_refused(text):
    assert read_when(text) is None
    with pytest.raises(click.BadParameter, match="2026-01-31"):
        WhenType().convert(text, None, None)


def test_since_may_be_a_folder(tmp_path):
    assert SinceType().convert(str(tmp_path), None, None) == tmp_path
    assert SinceType().convert("7d", None, None) == When(ago=7 * 86_400.0)
    with pytest.raises(click.BadParameter, match="no folder of an earlier scan"):
        SinceType().convert(str(tmp_path / "none"), None, None)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("0", 0), ("4096", 4096), ("10KiB", 10_240), ("10 KB", 10_000), ("1.5GB", 1_500_000_000)],
)
def test_sizes(text, nbytes):
    assert SizeType().convert(text, None, None) == nbytes


@given(st.integers(0, 10**12))
def test_a_size_in_bytes_is_itself(nbytes):
    assert SizeType().convert(f"{nbytes}", None, None) == nbytes
    assert SizeType().convert(f"{nbytes}B", None, None) == nbytes


@pytest.mark.parametrize("text", ["", "-1", "1 kb", "1QB", "GB", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(click.BadParameter, match="10KiB"):
        SizeType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.01", 0.01), (".5", 0.5), ("100%", 1.0), ("1", 1.0)]
)
def test_shares(text, share):
    assert PartType().convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "2", "x"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(click.BadParameter, match=r"0\.01"):
        PartType().convert(text, None, None)


def test_shards():
    assert ShardType().convert("3/16", None, None) == (3, 16)
    for text in ("0/4", "5/4", "1", "a/b", "1/0"):
        with pytest.raises(click.BadParameter, match="4/4"):
            ShardType().convert(text, None, None)


def test_names():
    kind = NamesType(("jsonl", "html"))
    assert kind.convert("html, jsonl,html", None, None) == ("html", "jsonl")
    for text in ("", "pdf", "html,pdf"):
        with pytest.raises(click.BadParameter, match="jsonl, html"):
            kind.convert(text, None, None)


def test_values_that_are_converted_stay():
    for kind, value in (
        (WhenType(), When(at=1.0)),
        (SizeType(), 5),
        (PartType(), 0.5),
        (ShardType(), (1, 2)),
        (NamesType(("a",)), ("a",)),
    ):
        assert kind.convert(value, None, None) == value


# The command line


def test_the_first_word_decides():
    assert typed("status", "x") == ("status", "x")
    asked, given_names = typed("./status", "--archives")
    assert asked.urls == ("./status",)
    assert given_names == {"urls", "archives"}


def test_options_may_stand_behind_urls():
    asked, _ = typed("a", "--limit", "5", "b")
    assert (asked.urls, asked.limit) == (("a", "b"), 5)


@pytest.mark.parametrize(
    ("arguments", "days", "urls"),
    [
        (("--keep-hashes", "a"), 90, ("a",)),
        (("--keep-hashes", "30", "a"), 30, ("a",)),
        (("--keep-hashes=30", "a"), 30, ("a",)),
        (("a", "--keep-hashes"), 90, ("a",)),
        (("a", "--", "--keep-hashes"), None, ("a", "--keep-hashes")),
    ],
)
def test_days_of_kept_hashes_may_be_left_out(arguments, days, urls):
    asked, _ = typed(*arguments)
    assert (asked.keep_days, asked.urls) == (days, urls)


def test_help_shows_both_ways():
    shown = CliRunner().invoke(probe, [], obj=[]).output
    assert "scan [OPTIONS] URL..." in shown
    assert "scan COMMAND [ARGS]..." in shown
    for heading in ("Which objects:", "How they are matched:", "What is written:", "How it runs:"):
        assert heading in shown
    assert "status" in shown.partition("Commands:")[2]
    assert "URL..." not in CliRunner().invoke(probe, ["status", "--help"], obj=[]).output


def test_a_command_behind_options_is_told_apart(capsys):
    from matcher import cli

    assert cli.main(["scan", "--yes", "status"]) == 2
    assert "./status" in capsys.readouterr().err


# The document


def test_what_is_not_said_is_not_asked(tmp_path):
    made = document(str(tmp_path))
    assert made.selection == Selection()
    assert [each.url for each in made.places] == [str(tmp_path)]
    assert (made.made_by, made.policy, made.views, made.recipients) == ("me", "", (), ())
    assert (made.hashes_until, made.unchanged_from, made.archives) == (0.0, "", False)
    assert len({document(str(tmp_path)).id for _ in range(20)}) == 20


def test_all_that_is_said_is_asked(tmp_path):
    made = document(
        "s3://bucket/prefix",
        *("--include", "*.jpg", "--include", "*.png", "--exclude", "thumb/**", "--prefix", "2026"),
        *("--min-size", "1KiB", "--max-size", "1MB", "--modified-before", "2026-02-01"),
        *("--since", str(tmp_path), "--sample", "10%", "--limit", "7", "--shard", "2/3"),
        *("--archives", "--endpoint", "http://127.0.0.1:9000", "--policy", "strict"),
        *("--views", "all", "--encrypt-to", RECIPIENT, "--keep-hashes", "30"),
        *("--unchanged-from", str(tmp_path)),
    )
    assert made.selection == Selection(
        include=("*.jpg", "*.png"),
        exclude=("thumb/**",),
        prefix="2026",
        min_bytes=1024,
        max_bytes=1_000_000,
        modified_since=1_000_000.0 - 300,
        modified_before=datetime(2026, 2, 1, tzinfo=UTC).timestamp(),
        sample=0.1,
        shard=2,
        shards=3,
        limit=7,
    )
    (place,) = made.places
    assert (place.url, place.endpoint) == ("s3://bucket/prefix/", "http://127.0.0.1:9000")
    assert (made.policy, made.views, made.archives) == ("strict", ("all",), True)
    assert (made.recipients, made.unchanged_from) == ((RECIPIENT,), str(tmp_path))
    assert made.hashes_until == made.made_at + 30 * 86_400


def test_an_endpoint_is_of_stores_alone(tmp_path):
    folder, bucket = document(
        str(tmp_path), "s3://bucket", "--endpoint", "https://minio.example"
    ).places
    assert (folder.endpoint, bucket.endpoint) == ("", "https://minio.example")


def test_recipients_come_from_files_too(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{RECIPIENT}\n")
    made = document(str(tmp_path), "--encrypt-to-file", str(file), "--encrypt-to", RECIPIENT)
    assert made.recipients == (RECIPIENT,)
    with pytest.raises(EncryptionRecipientError):
        document(str(tmp_path), "--encrypt-to", "age1none")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--archives",), "name what to scan"),
        (("a", "a"), "named twice"),
        (("s3://one", "s3://two", "--inventory", "s3://lists/manifest.json"), "--inventory"),
        (("a", "--endpoint", "https://x.example"), "--endpoint"),
        (("a", "--since", "1d", "--modified-since", "2d"), "--since and --modified-since"),
        (("a", "--since", "1d", "--modified-before", "1d"), "--modified-before"),
        (("a", "--min-size", "2", "--max-size", "1"), "--min-size"),
        (("a", "--server", "h:1", "--keep-hashes"), "--keep-hashes"),
        (("a", "--server", "h:1", "--unchanged-from", "/"), "--unchanged-from"),
        (("a", "--address", "auto"), "--engine ray"),
        (("s3://one", "--inventory", "s3://lists/m", "--unchanged-from", "/"), "--inventory"),
        (("a", "--engine", "ray", "--server", "h:1"), "--server"),
        (("a", "--engine", "ray", "--unchanged-from", "/"), "--unchanged-from"),
        (("a", "--encrypt-to", RECIPIENT, "--tag", "a=b"), "scan tag"),
    ],
)
def test_what_makes_no_sense_together_is_refused_by_name(arguments, told):
    with pytest.raises(click.UsageError, match=told):
        document(*arguments)


@pytest.mark.parametrize(
    "arguments", [("ftp://x/y",), ("s3://key:secret@bucket",), ("a", "--inventory", "m.json")]
)
def test_what_is_no_place_is_refused(arguments):
    with pytest.raises(SourceError) as caught:
        document(*arguments)
    assert "secret" not in str(caught.value)


def test_reports_of_encrypted_records_name_nothing(tmp_path):
    asked, _ = typed(str(tmp_path), "--encrypt-to", RECIPIENT)
    made = new_document(asked, author="me", beginning_of=beginning_of)
    assert formats_for(made, asked.formats) == ("html",)
    asked, _ = typed(str(tmp_path), "--encrypt-to", RECIPIENT, "--report", "html,csv,jsonl")
    with pytest.raises(click.UsageError, match="--format csv,jsonl --identity"):
        formats_for(made, asked.formats)
    asked, _ = typed(str(tmp_path))
    plain = new_document(asked, author="me", beginning_of=beginning_of)
    assert formats_for(plain, asked.formats) == ("jsonl", "html")


# Going on with it


def resumed(made, *arguments):
    asked, given_names = typed(*arguments)
    require_same(asked, given_names, made, beginning_of=beginning_of)


def test_nothing_has_to_be_said_again(tmp_path):
    made = document(
        "s3://bucket/c",
        "--inventory",
        "s3://lists/manifest.json",
        "--endpoint",
        "http://127.0.0.1:1",
    )
    resumed(made, "--resume", str(tmp_path))
    resumed(made, "--resume", str(tmp_path), "--workers", "3", "--events", "--yes", "--report=csv")


def test_the_same_may_be_said_again(tmp_path):
    words = [
        *(str(tmp_path), "--include", "*.jpg", "--modified-since", "7d", "--keep-hashes", "30"),
        *("--sample", "1%", "--shard", "1/2", "--views", "all", "--policy", "p", "--archives"),
        *("--min-size", "1", "--encrypt-to", RECIPIENT),
    ]
    made = document(*words)
    resumed(made, *words, "--resume", str(tmp_path))


@pytest.mark.parametrize(
    ("more", "option"),
    [
        (("elsewhere",), "URL"),
        (("--include", "*.png"), "--include"),
        (("--exclude", "*.png"), "--exclude"),
        (("--prefix", "x"), "--prefix"),
        (("--min-size", "5"), "--min-size"),
        (("--max-size", "5"), "--max-size"),
        (("--modified-since", "8d"), "--modified-since"),
        (("--since", "8d"), "--since"),
        (("--modified-before", "1d"), "--modified-before"),
        (("--sample", "2%"), "--sample"),
        (("--limit", "9"), "--limit"),
        (("--shard", "2/2"), "--shard"),
        (("--archives",), "--archives"),
        (("--policy", "q"), "--policy"),
        (("--views", "default"), "--views"),
        (("--server", "h:1"), "--server"),
        (("--unchanged-from", "/"), "--unchanged-from"),
        (("--encrypt-to", RECIPIENT), "--encrypt-to"),
        (("--keep-hashes",), "--keep-hashes"),
        (("--output", "there"), "--output"),
    ],
)
def test_what_contradicts_the_folder_is_refused_by_name(tmp_path, more, option):
    made = document(str(tmp_path), "--include", "*.jpg", "--modified-since", "7d")
    with pytest.raises(click.UsageError) as caught:
        resumed(made, "--resume", str(tmp_path), *more)
    assert caught.value.message.startswith(f"{option}: ")


def test_every_option_of_the_document_is_compared_or_of_the_run():
    from matcher.cli.scan_asked import _PARTS
    from matcher.cli.scan_run import _OF_THE_RUN

    of_the_estimate = {"price_get", "price_list", "price_gb"}
    known = {*_PARTS, *_OF_THE_RUN, *of_the_estimate, "output", "resume"}
    asked, _ = typed("a")
    assert known == set(asdict(asked))


def test_asked_is_what_the_command_has():
    assert isinstance(scan.command, ScanGroup)
    assert {each.name for each in scan.command.params} == {*asdict(typed("a")[0])}


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert document("x").places[0].url == str(tmp_path / "x")
    (tmp_path / "earlier").mkdir()
    assert document("x", "--unchanged-from", "earlier").unchanged_from == str(
        Path(tmp_path, "earlier")
    )
