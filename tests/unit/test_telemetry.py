"""Logs: their two forms, and what never gets into them."""

from __future__ import annotations

import base64
import io
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.telemetry import REDACTED, configure_logging, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("matcher.tests")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestRedact:
    @pytest.mark.parametrize("nbytes", [16, 20, 32, 144])
    @given(data=st.data())
    def test_hex(self, nbytes: int, data: st.DataObject) -> None:
        digest = data.draw(st.binary(min_size=nbytes, max_size=nbytes)).hex()
        for text in (digest, digest.upper(), f"0x{digest}", f"(sha={digest})", f"'{digest}',"):
            assert digest.lower() not in redact(text).lower()

    @pytest.mark.parametrize("nbytes", [16, 20, 32, 144])
    def test_base64(self, nbytes: int, rng: Any) -> None:
        padded, bare = 0, 0
        for _ in range(500):
            text = base64.b64encode(rng.bytes(nbytes)).decode()
            padded += redact(f"value {text}!") != f"value {REDACTED}!"
            text = base64.urlsafe_b64encode(rng.bytes(nbytes)).decode().rstrip("=")
            bare += redact(f"value {text}!") != f"value {REDACTED}!"
        assert padded == 0
        assert bare <= 25  # a net, not a proof: 1 in 20 at most looks like words

    @given(st.binary(min_size=16, max_size=64))
    def test_bytes_literals(self, raw: bytes) -> None:
        assert repr(raw) not in redact(f"got {raw!r} here")

    @given(st.lists(st.integers(0, 255), min_size=16, max_size=144))
    def test_photodna_as_decimals(self, values: list[int]) -> None:
        assert redact(f"[{', '.join(map(str, values))}]") == f"[{REDACTED}]"
        assert redact(",".join(map(str, values))) == REDACTED

    def test_credentials(self) -> None:
        assert redact("postgresql://user:secret@db/x") == f"postgresql://{REDACTED}@db/x"
        assert redact("authorization: Bearer abc.def-ghi") == f"authorization: Bearer {REDACTED}"

    @pytest.mark.parametrize(
        "text",
        [
            "read 40,000 records in 0.51 s",
            "list industry-csam-2026: revision 1234567890123",
            "/var/lib/hashwarden/snapshots/current/manifest.json",
            "/srv/Uploads/2026/Site-A/incoming_batch_07/IMG.jpg",
            "matcher.policy.binding.BoundPolicy has no attribute 'x'",
            "550e8400-e29b-41d4-a716-446655440000",
            "a_long_snake_case_identifier_of_someone_else",
            "ConnectionRefusedErrorWithALongCamelCaseName",
            "1, 2, 3, 4, 5",
            "b'short'",
            "",
        ],
    )
    def test_words_stay(self, text: str) -> None:
        assert redact(text) == text


class TestForms:
    def test_json_lines(self) -> None:
        stream = io.StringIO()
        configure_logging(stream=stream)
        log.info("read %d records", 3, extra={"list": "a", "seconds": 0.5, "n": 2, "ok": True})
        (line,) = lines(stream)
        assert line["time"].endswith("+00:00")
        assert (line["level"], line["logger"]) == ("info", "matcher.tests")
        assert line["message"] == "read 3 records"
        assert (line["list"], line["seconds"], line["n"], line["ok"]) == ("a", "0.5", 2, True)

    def test_human_on_a_terminal(self) -> None:
        stream = Terminal()
        configure_logging(stream=stream)
        log.warning("mind the gap", extra={"match_id": "Zm9vYmFyQmF6MTIzNDU2Nzg", "other": 1})
        text = stream.getvalue()
        assert text.endswith(
            "WARNING matcher.tests: mind the gap match_id=Zm9vYmFyQmF6MTIzNDU2Nzg\n"
        )

    @pytest.mark.parametrize(("form", "json_lines"), [("human", False), ("json", True)])
    def test_form_may_be_said(self, form: str, json_lines: bool) -> None:
        stream = Terminal() if json_lines else io.StringIO()
        configure_logging(stream=stream, log_format=form)
        log.error("x")
        assert stream.getvalue().startswith("{") is json_lines

    def test_level(self) -> None:
        stream = io.StringIO()
        configure_logging(stream=stream, level="warning")
        log.info("quiet")
        log.warning("loud")
        assert [line["message"] for line in lines(stream)] == ["loud"]

    def test_set_up_again_replaces(self) -> None:
        first, second = io.StringIO(), io.StringIO()
        configure_logging(stream=first)
        configure_logging(stream=second)
        log.info("once")
        assert first.getvalue() == ""
        assert len(lines(second)) == 1

    def test_standard_error_is_the_default(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging(log_format="json")
        log.info("x")
        captured = capsys.readouterr()
        assert captured.out == ""
        assert json.loads(captured.err)["message"] == "x"

    def test_chatty_libraries_are_kept_quiet(self) -> None:
        stream = io.StringIO()
        configure_logging(stream=stream, level="debug")
        logging.getLogger("sqlalchemy.engine").info("INSERT ...")
        logging.getLogger("alembic.runtime.migration").info("Running upgrade")
        log.debug("x")
        assert len(lines(stream)) == 1

    def test_warnings_are_logged(self) -> None:
        stream = io.StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            configure_logging(stream=stream)
            warnings.warn("old thing", UserWarning, stacklevel=1)
            logging.captureWarnings(capture=False)
        assert "old thing" in lines(stream)[0]["message"]


class TestNoSecrets:
    SECRET = "5a" * 32

    @pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
    def test_arguments_fields_and_tracebacks(self, stream: io.StringIO) -> None:
        configure_logging(stream=stream)
        try:
            int(self.SECRET)
        except ValueError:
            log.exception(
                "failed for %s",
                self.SECRET,
                extra={"a": self.SECRET, "b": [self.SECRET], "c": {self.SECRET: None}},
            )
        text = stream.getvalue()
        assert "ValueError" in text
        assert self.SECRET not in text

    def test_identifiers_pass_whole(self) -> None:
        stream = io.StringIO()
        configure_logging(stream=stream)
        log.info("matched", extra={"match_id": "q" * 10 + "A1" * 10, "policy_version": "ab" * 16})
        (line,) = lines(stream)
        assert line["match_id"] == "q" * 10 + "A1" * 10
        assert line["policy_version"] == "ab" * 16

    def test_one_record_is_one_line(self) -> None:
        stream = io.StringIO()
        configure_logging(stream=stream)
        log.info("two\nlines", extra={"x": "a\nb", "nan": float("nan")})
        assert len(stream.getvalue().splitlines()) == 1
