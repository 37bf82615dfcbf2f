"""What a server matched can be listed, explained, undone and reported on from the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.catalog import Catalog
from hashlists.importer import import_file
from hashlists.model import Harm, HashKind, HashList, ListState
from matcher import cli
from matcher.follow.one_shot import open_generation
from matcher.model import ImageHashes
from matcher.pipeline import MatchOptions, match_items
from matcher.policy.rules import policies_from_dict, policies_to_dict
from matcher.records import RecordStore
from matcher.records.model import Asked, record_of
from matcher.sealing import KeySource
from matcher.settings import load_settings

DIGEST = bytes(15) + b"\x07"


@pytest.fixture
def data(begun_data):
    """A data folder with a list of one digest."""
    settings = load_settings(begun_data, environ={})
    with Catalog.open(settings.catalog_url) as catalog:
        new = HashList("known", Harm.TEST, "test", state=ListState.LIVE)
        catalog.create_list(new, author="test")
        path = begun_data / "list.txt"
        path.write_text(f"{DIGEST.hex()}\n")
        import_file(catalog, path, list_name="known", format="digests", importer="test")
    return begun_data


@pytest.fixture
def matched(data):
    """A match of that digest, as a server leaves it: its id and the entry."""
    settings = load_settings(data, environ={})
    policies = policies_from_dict({}, origin="")
    with Catalog.open(settings.catalog_url) as catalog:
        generation = open_generation(catalog, settings.snapshots_dir, policies)
    hashes = ImageHashes({HashKind.MD5: DIGEST}, None)
    (result,) = match_items(generation, [hashes], [MatchOptions()])
    asked = Asked("platform", "post-7", None, None, "h", "d")
    record = record_of(result, asked, at=datetime.now(UTC))
    keys = KeySource(settings.match_keys)
    keep = timedelta(days=settings.match_record_days)
    with RecordStore.open(settings.match_records_url, keys, keep=keep) as store:
        store.add([record], {record.policy_version: policies_to_dict(policies)})
    return result.match_id, result.matches[0].entry_id


@pytest.fixture
def run(data, capsys):
    def ran(*arguments, status=0):
        found = cli.main(["--data", str(data), *map(str, arguments)])
        captured = capsys.readouterr()
        assert found == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    return ran


def objects(captured):
    return [json.loads(line) for line in captured.out.splitlines()]


def test_a_match_is_shown(run, matched):
    match_id, entry = matched
    shown = run("matches", "show", match_id).out
    for told in (match_id, "post-7", "platform", "MATCH", "known", str(entry), "md5"):
        assert told in shown
    (record,) = objects(run("matches", "show", match_id, "--json"))
    assert record["match_id"] == match_id
    assert record["matches"][0]["entry"] == entry
    assert record["outcome"] is None
    assert record["flagged"] is False


def test_matches_are_listed(run, matched):
    match_id, entry = matched
    assert match_id in run("matches", "list").out
    assert match_id in run("matches", "list", "--entry", entry, "--client", "platform").out
    for other in (("--entry", entry + 1000), ("--client", "x"), ("--until", "2020-01-01")):
        listed = run("matches", "list", *other)
        assert match_id not in listed.out
        assert "There are none" in listed.err
    (record,) = objects(run("matches", "list", "--since", "2020-01-01", "--json"))
    assert record["reference"] == "post-7"


def test_a_match_is_replayed(run, matched):
    match_id, _ = matched
    replayed = run("matches", "replay", match_id)
    assert "Nothing differs" in replayed.err
    (anew,) = objects(run("matches", "replay", match_id, "--json"))
    assert anew["standings"] == ["unchanged"]
    assert anew["by_policy_then"]["decision"] == anew["by_policy_now"]["decision"] == "MATCH"


def test_another_policy_is_told_by_replay(run, matched, data):
    (data / "policies.toml").write_text('[policies.default]\nlists = ["hashwarden-test"]\n')
    (anew,) = objects(run("matches", "replay", matched[0], "--json"))
    assert anew["by_policy_then"]["decision"] == "MATCH"
    assert anew["by_policy_now"]["decision"] == "NO_KNOWN_MATCH"
    assert any("then" in each and "now" in each for each in anew["differences"])


def test_what_is_retracted_is_undone(run, matched):
    match_id, entry = matched
    assert "There are none" in run("matches", "undone").err
    run("lists", "retract", "known", entry, "--reason", "wrong")
    undone = run("matches", "undone").out
    assert match_id in undone
    assert "nothing" in undone
    (found,) = objects(run("matches", "undone", "--json"))
    assert found["standings"] == ["withdrawn"]
    assert found["nothing_left"] is True
    assert "differs" in run("matches", "replay", match_id).out


def test_an_outcome_is_reported_and_counted(run, matched):
    match_id, _ = matched
    run("matches", "report", match_id, "wrong", "--reason", "a dog")
    assert "outcome: wrong (a dog)" in run("matches", "show", match_id).out
    assert "1 was wrong" in run("lists", "stats", "known").err
    (kept,) = objects(run("matches", "report", match_id, "confirmed", "--json"))
    assert kept["outcome"] == "confirmed"
    *_, counts = objects(run("lists", "stats", "known", "--json"))
    assert counts == {"list": "known", "outcomes": {"confirmed": 1, "wrong": 0}}


def test_a_new_key_seals_and_the_old_opens(run, matched, data):
    run("matches", "rotate-key")
    assert len((data / "match.keys").read_text().split()) == 2
    assert "post-7" in run("matches", "show", matched[0]).out


def test_what_is_not_there_is_told(run, matched, data):
    assert "no record of a match" in run("matches", "show", "x", status=2).err
    (data / "match_records.sqlite3").unlink()
    assert "no records of matches" in run("matches", "list", status=2).err
    (data / "hashwarden.toml").write_text("match_record_days = 0\n")
    assert "match_record_days" in run("matches", "list", status=2).err


def test_other_keys_are_told(run, matched, data):
    (data / "match.keys").write_text("ab" * 32)
    assert "another key" in run("matches", "list", status=2).err


def test_there_are_more_than_are_shown(run, matched, data):
    settings = load_settings(data, environ={})
    keep = timedelta(days=settings.match_record_days)
    from tests.record_support import record

    with RecordStore.open(
        settings.match_records_url, KeySource(settings.match_keys), keep=keep
    ) as store:
        store.add([record("other", at=datetime.now(UTC))])
    listed = run("matches", "list", "--limit", 1)
    assert "more than 1 match" in listed.err


def test_the_matches_of_one_upload_are_found_by_its_name(run, matched):
    match_id, _ = matched
    for name, found in (("post-7", [match_id]), ("post-", []), ("post-77", [])):
        listed = objects(run("matches", "list", "--reference", name, "--json"))
        assert [each["match_id"] for each in listed] == found
