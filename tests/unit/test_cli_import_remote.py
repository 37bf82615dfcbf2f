"""`hashwarden lists import --server`: what is told however the import ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hashlists.errors import (
    HarmMismatchError,
    ImportDeclinedError,
    ListExistsError,
    ListNotFoundError,
    OptionsError,
)
from hashlists.model import Coverage, Harm, HashList, ListState
from matcher.cli import asking, import_remote, importing
from matcher.cli.context import Session
from matcher.cli.describing import Described
from matcher.cli.import_output import import_record
from matcher.cli.importing import ImportOrder, WholeOrder
from matcher.cli.refusal import RefusalError
from matcher.client import ImportProgress, ImportResult, RemoteList, WholeList
from matcher.errors import ServerError

NOTHING_SAID = Described(None, None, None, None, None)
DESCRIBED = Described("test", "Us", None, None, None)
EMPTY = Coverage(0, {}, 0)
DIGEST = "0cc175b9c0f1b6a831c399e269772661"
OWN_OF_NCII = (
    b'{"format":"hashwarden","version":1}\n{"md5":"%s","harm":"ncii"}\n{"records":1}\n'
    % DIGEST.encode()
)


class Server:
    """Stands in for a client: holds lists by name, and answers imports as it is told to."""

    def __init__(self, *, holds=(), outcome=None, absent=0):
        self.absent = absent
        self.lists = {name: HashList(name, Harm.TEST, "Us") for name in holds}
        self.outcome = outcome
        self.imports = []

    def __call__(self, target, *, credentials, token):
        assert (target, credentials, token) == ("host:1", None, None)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_list(self, name):
        if name not in self.lists:
            raise ServerError("NOT_FOUND: no such list", reason="LIST_NOT_FOUND")
        return RemoteList(self.lists[name], EMPTY, 7, None)

    def create_list(self, hash_list, *, author):
        assert author
        self.lists[hash_list.name] = hash_list
        return self.get_list(hash_list.name)

    def import_list(self, path, *, sent, **asked):
        self.imports.append(asked | {"data": path.read_bytes()})
        sent(path.stat().st_size)
        yield ImportProgress(10, 1)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        if self.outcome != "nothing":
            counts = dict.fromkeys(
                ("read", "added", "updated", "retracted", "unchanged", "rejected"), 0
            )
            yield ImportResult(
                **counts,
                absent=self.absent if asked["whole_list"] else 0,
                list_name=asked["list_name"],
                format=asked["list_format"],
                revision=9,
                kept_retracted=0,
                seconds=0.5,
                coverage=EMPTY,
                rejections=(),
                sha256="",
                notes={},
                repeated=False,
            )


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs an import at that server; gives its result."""
    file = tmp_path / "list.csv"
    file.write_text(f"md5\n{DIGEST}\n")

    def ran(
        server,
        *,
        described=NOTHING_SAID,
        column="md5",
        key=None,
        share=None,
        whole=None,
        force=False,
        list_format="csv",
        options=None,
        data=None,
    ):
        monkeypatch.setattr("matcher.client.Client", server)
        if data is not None:
            file.write_bytes(data)
        order = ImportOrder(
            files=[file],
            list_name="demo",
            format=list_format,
            options={"columns.md5": column} if options is None else options,
            max_rejected_share=share,
            reason="monthly",
            idempotency_key=key,
            described=described,
            whole=whole,
            force=force,
        )
        return import_remote.import_at_server(Session(tmp_path / "none"), "host:1", order)

    yield ran
    assert not (tmp_path / "none").exists()


def test_what_was_asked_for_is_asked_of_the_server(go):
    server = Server(holds=["demo"])
    assert go(server, key="march", share=0.5, force=True).revision == 9
    (asked,) = server.imports
    assert asked.pop("author")
    assert asked == {
        "list_name": "demo",
        "list_format": "csv",
        "options": {"columns.md5": "md5"},
        "reason": "monthly",
        "idempotency_key": "march",
        "max_rejected_share": 0.5,
        "dry_run": False,
        "whole_list": None,
        "force": True,
        "data": f"md5\n{DIGEST}\n".encode(),
    }
    go(server)
    go(server)
    first, second = (each["idempotency_key"] for each in server.imports[1:])
    assert first != second


def test_a_list_is_created_once_the_file_proved_good(go, capsys):
    server = Server()
    with pytest.raises(ListNotFoundError, match="add --harm and --source to create it"):
        go(server)
    with pytest.raises(OptionsError):
        go(server, described=DESCRIBED, column="other")
    assert not server.lists
    go(server, described=DESCRIBED)
    assert server.lists["demo"].source == "Us"
    assert "The list demo was created: revision 7 of the catalog." in capsys.readouterr().err


def test_no_list_is_created_of_another_harm_than_the_file_tells(go):
    server = Server()
    good = replace(DESCRIBED, harm="csam")
    with pytest.raises(HarmMismatchError, match=r"'demo' would be of harm csam; .* Say --harm ter"):
        go(server, described=good, list_format="tat", options={})
    with pytest.raises(
        HarmMismatchError, match=r"the file holds entries of harm ncii, .* would be"
    ):
        go(server, described=good, list_format="jsonl", options={}, data=OWN_OF_NCII)
    assert not server.lists
    assert not server.imports


def test_a_list_that_is_another_is_left_alone(go):
    server = Server(holds=["demo"])
    other = Described("csam", "Us", None, None, None)
    with pytest.raises(ListExistsError, match="its harm is test, not csam"):
        go(server, described=other)
    assert not server.imports
    go(server, described=DESCRIBED)
    assert len(server.imports) == 1


def test_other_errors_of_the_server_are_its_own(go, monkeypatch):
    server = Server()
    away = ServerError("no server answers", reason="UNAVAILABLE", retryable=True)
    monkeypatch.setattr(server, "get_list", lambda _: (_ for _ in ()).throw(away))
    with pytest.raises(ServerError, match="no server answers"):
        go(server)


@pytest.mark.parametrize(
    "outcome",
    [
        ServerError("UNAVAILABLE: gone", reason="UNAVAILABLE", retryable=True),
        ServerError("INTERNAL: broken pipe", reason="INTERNAL"),
        KeyboardInterrupt(),
        "nothing",
    ],
    ids=lambda each: type(each).__name__,
)
def test_where_the_end_is_not_known_the_way_on_is_told(go, capsys, outcome):
    with pytest.raises((ServerError, KeyboardInterrupt)):
        go(Server(holds=["demo"], outcome=outcome), key="march")
    told = capsys.readouterr().err
    assert "Whether it was imported is not known." in told
    assert "--idempotency-key march:" in told


def test_where_the_server_refuses_only_an_empty_list_is_told(go, capsys):
    refusal = ServerError("INVALID_ARGUMENT: no list file", reason="FORMAT_ERROR")
    for server, described in ((Server(holds=["demo"]), NOTHING_SAID), (Server(), DESCRIBED)):
        server.outcome = refusal
        with pytest.raises(ServerError, match="no list file"):
            go(server, described=described)
        told = capsys.readouterr().err
        assert "not known" not in told
        assert ("The list demo stays at the server, empty." in told) == (described is DESCRIBED)


def test_a_servers_report_is_shown_as_a_local_one(go):
    record = import_record(go(Server(holds=["demo"])), ListState.SHADOW)
    assert list(record)[:3] == ["list", "format", "revision"]
    assert record["coverage"]["share_by_kind"]["pdq"] == 0.0


class TestWholeLists:
    ORDER = WholeOrder(yes=False, force=True)

    @pytest.fixture
    def asked(self, monkeypatch):
        questions, answers = [], []

        def confirm(text, **_):
            questions.append(text)
            return answers.pop()

        monkeypatch.setattr(importing, "require_someone_to_ask", lambda **_: None)
        monkeypatch.setattr(asking.click, "confirm", confirm)
        return questions, answers

    def test_it_is_tried_first_and_no_more_than_was_agreed_to_is_retracted(self, go, asked):
        server = Server(holds=["demo"], absent=3)
        questions, answers = asked
        answers.append(True)
        assert go(server, whole=self.ORDER, key="march").absent == 3
        tried, done = server.imports
        assert (tried["dry_run"], tried["whole_list"]) == (True, WholeList(force=True))
        assert (done["dry_run"], done["whole_list"]) == (False, WholeList(True, 3))
        assert (tried["idempotency_key"] == "march", done["idempotency_key"]) == (False, "march")
        assert len(questions) == 1

    def test_a_no_imports_nothing(self, go, asked):
        server = Server(holds=["demo"], absent=3)
        asked[1].append(False)
        with pytest.raises(ImportDeclinedError):
            go(server, whole=self.ORDER)
        assert [each["dry_run"] for each in server.imports] == [True]

    def test_without_anybody_to_ask_the_number_is_told(self, go):
        server = Server(holds=["demo"], absent=3)
        told = "nobody can be asked here: 3 of the 0 entries of demo are not in the file"
        with pytest.raises(RefusalError, match=f"{told}.* add --yes to --full to retract them$"):
            go(server, whole=self.ORDER)
        assert [each["dry_run"] for each in server.imports] == [True]

    def test_nothing_absent_is_nothing_to_ask_about(self, go):
        server = Server(holds=["demo"])
        go(server, whole=self.ORDER)
        assert server.imports[1]["whole_list"] == WholeList(True, 0)

    def test_a_yes_beforehand_sends_the_file_once(self, go):
        server = Server(holds=["demo"], absent=3)
        go(server, whole=WholeOrder(yes=True, force=False))
        assert [each["whole_list"] for each in server.imports] == [WholeList()]

    def test_a_new_list_leaves_nothing_out(self, go, asked):
        server = Server(absent=3)
        go(server, whole=self.ORDER, described=DESCRIBED)
        assert [each["whole_list"] for each in server.imports] == [None]
        assert asked[0] == []


def test_a_list_that_is_made_there_is_in_shadow_unless_told_otherwise(go, capsys):
    server = Server()
    go(server, described=DESCRIBED)
    assert server.lists["demo"].state is ListState.SHADOW
    assert "until `lists promote demo --server host:1`" in capsys.readouterr().err
    server = Server()
    go(server, described=replace(DESCRIBED, state=ListState.LIVE))
    assert server.lists["demo"].state is ListState.LIVE
    assert "shadow" not in capsys.readouterr().err
