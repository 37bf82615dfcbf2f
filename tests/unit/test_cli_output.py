"""What commands print fits where it goes, and no outside text can repaint a terminal."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from matcher.cli import output


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch):
    """A function, since pytest puts its own streams back between a fixture and its test."""

    def opened():
        streams = Terminal(), Terminal()
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        return streams

    return opened


@given(st.text())
def test_printable_text_has_no_control_characters(text):
    shown = output.printable(text)
    assert shown.isprintable()
    assert "\x1b" not in shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2J", "\\x1b[2J"), ("a\tb\nc", "a\\tb\\nc"), ("\u202eabc", "\\u202eabc")],
)
def test_printable_names_what_it_escapes(text, shown):
    assert output.printable(text) == shown


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.floats(0, 1)))
def test_json_is_one_ascii_line_a_record(record):
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        output.print_json(record)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().isascii()
    assert json.loads(stream.getvalue()) == record


def test_table_elsewhere_is_tab_separated_with_a_header(capsys):
    output.print_table(("path", "decision"), [("a\tb.jpg", "MATCH"), ("c.jpg", "REVIEW")])
    assert capsys.readouterr().out.splitlines() == [
        "path\tdecision",
        "a\\tb.jpg\tMATCH",
        "c.jpg\tREVIEW",
    ]


def test_table_on_a_terminal_is_ruled_and_coloured(open_terminal):
    terminal = open_terminal()
    output.print_table(("path", "decision"), [("[red]x[/red]\x1b[2J", "MATCH")])
    shown = terminal[0].getvalue()
    assert "[red]x[/red]\\x1b[2J" in shown  # neither markup nor an escape of its own
    assert "\x1b[1;31mMATCH" in shown
    assert "─" in shown
    assert "\t" not in shown


def test_paragraphs_are_broken_between_words_and_stay_indented(open_terminal, monkeypatch):
    out, _ = open_terminal()
    monkeypatch.setenv("COLUMNS", "40")
    said = "a long reason " * 5 + "[bold]\x1b[2J"
    output.print_paragraphs([("revision 1", ["by us", "", said]), ("revision 2", [])])
    plain = re.sub(r"\x1b\[[0-9]*m", "", out.getvalue())
    lines = [line.rstrip() for line in plain.splitlines()]
    assert (lines[0], lines[1], lines[-1]) == ("revision 1", "  by us", "revision 2")
    assert all(line.startswith("  ") for line in lines[1:-1])
    assert max(map(cell_len, lines)) <= 40
    assert " ".join(" ".join(lines[2:-1]).split()) == said.replace("\x1b", "\\x1b")


def test_long_paths_keep_their_end_and_words_stay_whole(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setenv("COLUMNS", "80")
    long = "/very/long" * 20 + "/upload-0815.jpg"
    output.print_table(
        ("path", "decision", "evidence"),
        [(long, "NO KNOWN MATCH", "several words of evidence " * 3), ("b.jpg", "MATCH", "")],
    )
    shown = terminal[0].getvalue()
    assert "/upload-0815.jpg" in shown
    assert "…" in shown
    assert "NO KNOWN MATCH" in shown
    assert set(shown.split()) >= {"several", "words", "of", "evidence"}
    assert "\x1b[32m" not in shown  # green would read as safe


@given(st.text(min_size=1), st.integers(2, 40))
def test_shortened_paths_fit_and_are_ends(path, width):
    short = output.shorten_left(path, width)
    assert cell_len(short) <= width
    assert path.endswith(short.removeprefix("…"))


def test_notes_come_after_the_results_before_them():
    code = "import sys; from matcher.cli.output import note; sys.stdout.write('1\\n'); note('2')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        cwd=Path(output.__file__).parents[2],
    )
    assert done.stdout.split() == [b"1", b"2"]


def test_pretty_json_is_still_json(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_pretty_json({"path": "[b]a[/b]", "width": 3})
    shown = terminal[0].getvalue()
    assert shown.count("\n") > 1
    assert "[b]a[/b]" in shown


def test_note_goes_to_standard_error_without_colour(capsys):
    output.note("careful\x1b[2J", style="yellow")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "careful\\x1b[2J\n"


def test_progress_is_silent_where_nobody_watches(capsys):
    with output.progress("Working") as advance:
        advance(1, 2, "beside")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("of_bytes", [False, True])
def test_progress_shows_on_a_terminal(open_terminal, of_bytes):
    terminal = open_terminal()
    with output.progress("Working [b]", of_bytes=of_bytes) as advance:
        advance(2, 4, "7 records")
    assert "Working" in terminal[1].getvalue()
    assert terminal[0].getvalue() == ""


def test_which_stream_is_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert output.is_terminal()
    assert not output.is_terminal(error=True)


def test_progress_keeps_out_of_the_way_of_results_on_the_same_screen(open_terminal):
    terminal = open_terminal()
    with output.progress("Working", printing=True) as advance:
        advance(1, 2)
    assert terminal[1].getvalue() == ""


def test_results_go_to_standard_output_while_progress_shows(open_terminal, monkeypatch):
    terminal = open_terminal()
    results = io.StringIO()
    monkeypatch.setattr(sys, "stdout", results)
    with output.progress("Working", printing=True) as advance:
        advance(1, 2)
        output.print_json({"path": "a"})
    assert results.getvalue() == '{"path": "a"}\n'
    assert "Working" in terminal[1].getvalue()
    assert '"path"' not in terminal[1].getvalue()
