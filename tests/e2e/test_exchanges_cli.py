"""`hashwarden exchanges`: added, fetched, looked at, paused, removed; feedback to NCMEC."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.catalog import Catalog
from hashlists.exchanges.fetching import FetchOrder
from hashlists.exchanges.retrying import RetryLimits
from hashlists.model import ListState
from matcher.cli.root import run
from matcher.settings import exchange_credentials, exchange_variable
from tests.certificates import make_certificate
from tests.exchange_servers import SECRETS, Fault, Feed, serve
from tests.proxy_server import USER, serve_proxy

GUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def server():
    with serve(Feed("ncmec")) as running:
        running.feed.put(*range(5))
        yield running


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    """Runs a command; gives its status, and what it wrote."""
    monkeypatch.setenv("HASHWARDEN_DATA", str(tmp_path / "data"))
    for name, text in SECRETS["ncmec"].items():
        monkeypatch.setenv(exchange_variable("a-feed", name), text)

    def call(*arguments):
        status = run(["exchanges", *arguments])
        written = capfd.readouterr()
        assert "hidden" not in written.out + written.err
        return status, written.out, written.err

    return call


def add(cli, server, *more):
    named = ("--kind", "ncmec", "--list", "from-there", "--url", server.url)
    return cli("add", "a-feed", *named, *more)


def test_from_adding_to_removing(cli, server, tmp_path):
    status, _, told = add(cli, server, "--harm", "ncii")
    assert (status, "harm csam" in told) == (2, True)
    status, _, told = add(cli, server, "--releasable-to", "us")
    assert (status, "in shadow" in told) == (0, True)
    server.feed.bad = {3}
    status, out, _ = cli("fetch", "--json")
    assert status == 0
    report = json.loads(out)
    assert (report["exchange"], report["list"], report["added"]) == ("a-feed", "from-there", 4)
    status, out, _ = cli("status", "a-feed", "--json")
    shown = json.loads(out)
    assert (shown["entries"], shown["set_aside"], shown["error"]) == (4, 1, None)
    assert shown["set_aside_last"][0]["place"].startswith("record")
    assert shown["checkpoint"].startswith("changes from")
    assert cli("pause", "a-feed")[0] == 0
    status, _, told = cli("fetch")
    assert (status, "the exchange a-feed is paused, so nothing was fetched" in told) == (2, True)
    assert "exchanges resume" in told
    assert cli("fetch", "a-feed")[0] == 2
    assert cli("resume", "a-feed")[0] == 0
    status, out, _ = cli("fetch", "a-feed")
    assert (status, out.splitlines()[0].split("\t")[0]) == (0, "exchange")
    status, out, told = cli("status", "a-feed")
    assert (status, "ncmec" in out, "Goes on with" in told) == (0, True, True)
    with Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3") as catalog:
        held = catalog.get_list("from-there").hash_list
        assert (held.state, held.handling.releasable_to) == (ListState.SHADOW, ("us",))
    assert cli("remove", "a-feed")[0] == 0
    assert cli("status")[1] == ""
    status, _, told = cli("fetch")
    assert (status, "there is no exchange to fetch" in told) == (2, True)


def test_an_exchange_that_cannot_be_added_makes_nothing(cli, server, tmp_path):
    """Neither its list, nor a catalog where there was none."""
    wrong = ("--kind", "threatexchange", "--option", "privacy_group=12", "--url", server.url)
    assert cli("add", "b", "--list", "x", *wrong)[0] == 2
    assert cli("add", "B", "--list", "x", "--harm", "csam", *wrong)[0] == 2
    assert cli("add", "b", "--list", "X", "--harm", "csam", *wrong)[0] == 2
    assert not (tmp_path / "data").exists()
    assert add(cli, server)[0] == 0
    status, _, told = cli("add", "a-feed", "--kind", "ncmec", "--list", "new", "--url", server.url)
    assert (status, "an exchange named 'a-feed' exists already" in told) == (2, True)
    assert "was created" not in told
    with Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3") as catalog:
        assert [each.hash_list.name for each in catalog.list_lists()] == ["from-there"]


def test_where_all_are_paused_it_is_said(cli, server, monkeypatch):
    assert add(cli, server)[0] == 0
    another = ("b-feed", "--kind", "ncmec", "--list", "b-list", "--url", server.url)
    assert cli("add", *another)[0] == 0
    assert cli("pause", "b-feed")[0] == 0
    assert cli("fetch")[0] == 0  # the other one was fetched
    assert cli("pause", "a-feed")[0] == 0
    status, out, told = cli("fetch", "--json")
    assert (status, out) == (2, "")
    assert "all 2 exchanges are paused, so nothing was fetched" in told
    assert "exchanges resume" in told


def test_the_address_is_shown(cli, server):
    assert add(cli, server)[0] == 0
    heading, row = cli("status")[1].splitlines()
    shown = dict(zip(heading.split("\t"), row.split("\t"), strict=True))
    assert shown["address"] == server.url


def test_in_a_terminal_nothing_that_is_copied_is_broken(cli, server, monkeypatch):
    assert add(cli, server)[0] == 0
    assert cli("fetch")[0] == 0
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = [line.strip() for line in cli("status")[1].splitlines()]
    assert lines[:4] == [
        "a-feed  active",
        "ncmec, fills the list from-there",
        server.url,
        "5 in force, 0 set aside",
    ]
    assert lines[4].startswith("fetched 2")


def test_what_cannot_be_added(cli, server):
    assert add(cli, server, "--harm", "csam")[0] == 0
    named = ("--harm", "csam", "--url", server.url)
    status, _, told = cli("add", "b", "--kind", "ncmec", "--list", "from-there", *named)
    assert (status, "filled by the exchange a-feed" in told) == (2, True)
    status, _, told = cli("add", "b", "--kind", "ncmec", "--list", "x", "--option", "x", *named)
    assert (status, "NAME=VALUE" in told) == (2, True)
    group = ("--list", "x", "--url", server.url, "--option", "privacy_group=12")
    status, _, told = cli("add", "b", "--kind", "threatexchange", *group)
    assert (status, "add --harm" in told) == (2, True)
    status, _, told = cli("add", "b", "--kind", "stopncii", "--list", "x", *named)
    assert (status, "ncii" in told) == (2, True)
    assert run(["lists", "create", "alive", "--harm", "csam", "--source", "x"]) == 0
    given = ("add", "b", "--kind", "ncmec", "--list", "alive", "--url", server.url)
    status, _, told = cli(*given)
    assert (status, "is live" in told) == (2, True)
    assert cli(*given, "--live")[0] == 0


def test_a_list_that_is_there_must_be_what_is_said_of_it(cli, server):
    made = ("lists", "create", "from-there", "--harm", "csam", "--source", "NCMEC", "--shadow")
    assert run([*made, "--releasable-to", "us"]) == 0
    for given, why in (
        (("--harm", "test"), "its harm is csam, not test"),
        (("--source", "them"), "its source is NCMEC, not them"),
        (("--legal-basis", "a law"), "its legal basis is empty, not a law"),
        (("--originator", "them"), "its originator is empty, not them"),
        (("--releasable-to", "them"), "its releasable to is us, not them"),
    ):
        status, _, told = add(cli, server, *given)
        assert (status, why in told) == (2, True), told
        assert "exchanges add without that option" in told
    assert cli("status")[1] == ""
    same = ("--harm", "csam", "--source", "NCMEC", "--releasable-to", "us")
    assert add(cli, server, *same)[0] == 0


def test_a_list_of_another_harm_is_not_fed(cli, server):
    assert (
        run(["lists", "create", "from-there", "--harm", "ncii", "--source", "x", "--shadow"]) == 0
    )
    status, _, told = add(cli, server)
    assert (status, "kept apart: name another list with --list" in told) == (2, True)


def test_all_that_is_wrong_is_told_at_once(cli, tmp_path):
    status, _, told = cli("add", "a-feed", "--list", "x", "--live")
    assert (status, "these are missing: '--kind', '--url'" in told) == (2, True)
    status, _, told = cli("add", "a-feed", "--kind", "ncmec", "--list", "x")
    assert (status, "Missing option '--url'" in told) == (2, True)
    assert cli("add", "a-feed", "--kind", "no-such", "--list", "x")[0] == 2
    assert run(["lists", "create", "alive", "--harm", "csam", "--source", "x"]) == 0
    missing = tmp_path / "missing"
    wrong = ("--kind", "tat", "--url", "http://h.invalid/", "--credentials-file", str(missing))
    status, _, told = cli("add", "A feed", *wrong, "--list", "alive", "--option", "ideology=x")
    assert status == 2
    lines = [line.removeprefix("error: ").strip() for line in told.splitlines()]
    for line, why in zip(
        lines,
        (
            "the option ideology must be",
            "the address must begin with https:",
            f"the file of credentials {missing} cannot be read",
            "an exchange",
            "what tat tells is of harm terrorism, and the list alive is of harm csam",
            "the list alive is live",
        ),
        strict=True,
    ):
        assert why in line
    assert cli("status")[1] == ""


def test_a_failure_is_told_and_kept_and_others_are_fetched(cli, server, monkeypatch):
    assert add(cli, server, "--harm", "csam")[0] == 0
    server.faults = [Fault(302, b"", {"Location": "https://other.invalid/"})]
    status, out, told = cli("fetch", "--json")
    assert (status, json.loads(out)["error"]["reason"]) == (2, "EXCHANGE_REFUSED")
    assert "other.invalid" in told
    status, out, told = cli("status")
    assert "failing" in out
    assert "other.invalid" in told
    monkeypatch.delenv(exchange_variable("a-feed", "password"))
    status, _, told = cli("fetch", "a-feed")
    assert (status, "credentials are missing" in told) == (2, True)
    assert "HASHWARDEN_EXCHANGE_A_FEED_PASSWORD in the environment" in told
    assert "A_FEED_USERNAME" not in told
    shown = json.loads(cli("status", "a-feed", "--json")[1])
    assert "credentials are missing" in shown["error"]["detail"]
    assert shown["failed_at"] is not None
    assert cli("fetch", "--force")[0] == 2
    assert cli("pause", "a-feed")[0] == 0
    _, out, told = cli("status")
    assert ("paused" in out, "failing" in out, "failed at" in told) == (True, False, True)


def test_a_hash_in_the_place_of_a_name_is_not_shown(cli, server):
    assert add(cli, server)[0] == 0
    named = "c0ffee42" * 4
    for how in ((), ("--json",)):
        status, out, told = cli("fetch", named, *how)
        assert (status, named in out + told) == (2, False)
        assert "error: (hash): " in told


def test_credentials_from_a_private_file(cli, server, monkeypatch, tmp_path):
    file = tmp_path / "secrets"
    file.write_text("".join(f"{name} = {text}\n" for name, text in SECRETS["ncmec"].items()))
    for name in SECRETS["ncmec"]:
        monkeypatch.delenv(exchange_variable("a-feed", name))
    from_file = ("--harm", "csam", "--credentials-file", str(file))
    file.chmod(0o640)
    status, _, told = add(cli, server, *from_file)
    assert (status, "mode 0640" in told) == (2, True)
    file.chmod(0o600)
    assert add(cli, server, *from_file)[0] == 0
    file.chmod(0o644)
    status, _, told = cli("set", "a-feed", "--credentials-file", str(file))
    assert (status, "mode 0644" in told) == (2, True)
    told = cli("fetch")[2]
    assert "mode 0644" in told
    assert f"chmod 600 {file}" in told
    file.chmod(0o600)
    assert cli("fetch")[0] == 0


def test_files_are_named_later_and_the_checkpoint_stays(cli, server, monkeypatch, tmp_path):
    assert add(cli, server)[0] == 0
    assert cli("fetch")[0] == 0
    before = json.loads(cli("status", "a-feed", "--json")[1])
    file = tmp_path / "secrets"
    file.write_text("".join(f"{name} = {text}\n" for name, text in SECRETS["ncmec"].items()))
    file.chmod(0o600)
    for name in SECRETS["ncmec"]:
        monkeypatch.delenv(exchange_variable("a-feed", name))
    assert cli("fetch")[0] == 2
    status, _, told = cli("set", "a-feed", "--credentials-file", str(file))
    assert (status, "goes on where it was" in told) == (0, True)
    after = json.loads(cli("status", "a-feed", "--json")[1])
    assert after["checkpoint"] == before["checkpoint"] is not None
    assert cli("fetch")[0] == 0
    certificate, _ = make_certificate(tmp_path)
    assert cli("set", "a-feed", "--ca-file", str(certificate), "--no-credentials-file")[0] == 0
    assert "credentials are missing" in cli("fetch")[2]
    assert cli("set", "a-feed", "--no-ca-file")[0] == 0
    for wrong in ([], ["--ca-file", str(file), "--no-ca-file"], ["--ca-file", "missing"]):
        assert cli("set", "a-feed", *wrong)[0] == 2
    assert cli("set", "none", "--no-ca-file")[0] == 2


def test_an_exchange_that_is_away_is_named_with_the_cause(cli, monkeypatch):
    patient = partial(FetchOrder, retries=RetryLimits(first_seconds=0.01))
    monkeypatch.setattr("hashlists.exchanges.fetching.FetchOrder", patient)
    with serve(Feed("ncmec")) as gone:
        pass
    assert add(cli, gone)[0] == 0
    status, _, told = cli("fetch")
    assert status == 2
    assert "127.0.0.1 cannot be reached: Connection refused; look at the address" in told


def test_the_harm_of_a_kind_that_says_it_is_left_out(cli, server):
    status, _, told = add(cli, server, "--harm", "terrorism")
    assert (status, "leave --harm out" in told) == (2, True)


def audited(folder):
    """What the audit of a data folder holds."""
    head = HeadFile(folder / "data" / "audit.head")
    with AccessDatabase.open(f"sqlite:///{folder}/data/access.sqlite3", head) as database:
        return [each.event for each in database.records()]


def test_feedback_goes_where_the_entry_came_from(cli, server, tmp_path):
    assert add(cli, server, "--harm", "csam")[0] == 0
    assert cli("fetch")[0] == 0
    with (
        Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3") as catalog,
        catalog.read() as reader,
    ):
        entry = str(next(int(x) for batch in reader.entry_columns() for x in batch.entry_ids))
    named = ("--entry", entry, "--kind", "pdq")
    assert cli("feedback", "a-feed", "affirmative", *named)[0] == 0
    assert cli("feedback", "a-feed", "negative", *named, "--reason", GUID)[0] == 0
    first, second = (x for x in server.asked if x.method == "PUT")
    assert first.path.startswith("/v2/entries/42/")
    assert first.path.endswith("/PDQ/feedback")
    assert b"<affirmative/>" in first.body
    assert (
        f"<negative><reasonIds><guid>{GUID}</guid></reasonIds></negative>".encode() in second.body
    )
    told = [each for each in audited(tmp_path) if each.act == "exchange.feedback"]
    assert [each.outcome for each in told] == ["begun", "done"] * 2
    assert told[-1].subject == "a-feed"
    said = {"entry": int(entry), "kind": "pdq", "opinion": "negative", "reasons": [GUID]}
    assert told[-1].details.items() >= said.items()
    assert cli("feedback", "a-feed", "negative", *named)[0] == 2
    status, _, told = cli("feedback", "a-feed", "negative", *named, "--reason", "<x>")
    assert (status, "GUID" in told) == (2, True)
    status, _, told = cli("feedback", "a-feed", "affirmative", "--entry", entry, "--kind", "md5")
    assert (status, "has no md5" in told) == (2, True)


def test_by_way_of_a_proxy_as_the_environment_says(cli, monkeypatch, tmp_path):
    certificate = make_certificate(tmp_path)
    with serve(Feed("ncmec"), certificate=certificate) as server, serve_proxy() as proxy:
        server.feed.put(*range(3))
        assert add(cli, server, "--harm", "csam", "--ca-file", str(certificate[0]))[0] == 0
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        status, _, told = cli("fetch", "a-feed", "--json")
        assert (status, proxy.asked) == (0, [server.url.removeprefix("https://")])
        assert USER not in told
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert cli("fetch", "a-feed")[0] == 0
        assert len(proxy.asked) == 1
        assert len(server.pages) == 2


def test_variables_of_credentials_are_no_settings():
    environ = {"HASHWARDEN_EXCHANGE_MY_FEED_PASSWORD": "x", "HASHWARDEN_EXCHANGE_MY_FEED_USER": ""}
    assert exchange_credentials("my-feed", ("password", "user"), environ) == {"password": "x"}
