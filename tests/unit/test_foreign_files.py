"""What is no list at all is named by inspection and import alike, and never suggested."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import tarfile

import pytest
from PIL import Image

from hashlists.errors import FormatError
from hashlists.formats.foreign_files import what_it_is
from hashlists.formats.registry import FORMATS, format_names, open_reader
from hashlists.inspection import inspect_file
from matcher import cli
from tests.archive_support import zipped


def image(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(buffer, kind)
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("list.csv"))
    return buffer.getvalue()


IMAGES = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF")
FOREIGN = {
    **{kind: (image(kind), "an image") for kind in IMAGES},
    "utf-32": ("md5\n".encode("utf-32"), "UTF-32, which is not read; save it as UTF-8"),
    "utf-32 the other way": (b"\x00\x00\xfe\xff" + "md5\n".encode("utf-32-be"), "UTF-32"),
    "video": (b"\x00\x00\x00\x18ftypmp42" + bytes(40), "a video"),
    "empty": (b"", "empty"),
    "pickle": (pickle.dumps({"a": [1]}), "pickle"),
    "old pickle": (pickle.dumps({"a": [1]}, protocol=0), "pickle"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
    "ole": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "save the sheet as CSV"),
    "xlsx": (zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}), "as CSV"),
    "docx": (zipped({"word/document.xml": b"<x/>"}), "Word"),
    "ods": (zipped({"META-INF/manifest.xml": b"<x/>", "mimetype": b"x"}), "OpenDocument"),
    "html": (b"<!-- x -->\n<!DOCTYPE html>\n<html><head></head></html>", "web page"),
    "xhtml": (b'<?xml version="1.0"?>\n<html xmlns="x"/>', "web page"),
    "error page": (b"\n\n  <HTML>502 Bad Gateway</HTML>", "web page"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "unpack it first"),
    "rar": (b"Rar!\x1a\x07\x00" + bytes(40), "unpack it first"),
    "tar": (tar(), "unpack it first"),
    "program": (b"\x7fELF" + bytes(60), "a program"),
    "windows program": (b"MZ" + b"\x90" * 58 + bytes(60), "a program"),
    "disk": (b"EVF\t\r\n\xff\x00" + bytes(60), "image of a disk"),
    "access": (b"\x00\x01\x00\x00Standard ACE DB\x00", "Access"),
    "rtf": (b"{\\rtf1 x}", "RTF"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n\nx\n", "gpg"),
    "private key": (b"# created: x\n# public key: y\nAGE-SECRET-KEY-1QQ\n", "private key"),
    "ssh key": (b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "private key"),
    "utf-16 json": ('{"value": [1, 2, 3]}'.encode("utf-16"), "iconv -f UTF-16"),
    "utf-16 without a mark": ('{"value": [1, 2, 3]}'.encode("utf-16-be"), "iconv -f UTF-16"),
}
#: Told by inspection alone: some readers take UTF-16, and archives are opened before any reader.
PACKED = {"xlsx", "docx", "ods", "7z", "rar", "tar"}
NOT_BY_BYTES = {"utf-16 json", "utf-16 without a mark", "empty", *PACKED}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_inspect_names_it_and_suggests_nothing(capsys, tmp_path, name, packed):
    data, told = FOREIGN[name]
    path = tmp_path / "list.dat"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert cli.main(["lists", "inspect", str(path)]) == 2
    said = capsys.readouterr()
    if packed and name in PACKED:
        told = "is itself packed"
    assert told in said.out + said.err
    assert "To import" not in said.err
    assert said.err.count("list.dat") <= 1


@pytest.mark.parametrize("name", [name for name in FOREIGN if name not in NOT_BY_BYTES])
def test_every_reader_refuses_it(name):
    data, told = FOREIGN[name]
    for format_name in format_names():
        with pytest.raises(FormatError, match=told):
            open_reader(io.BytesIO(data), format=format_name)


def test_an_import_refuses_it_before_anything_is_made(capsys, tmp_path):
    base = ["--data", str(tmp_path / "data"), "lists", "import"]
    new = ["--list", "new", "--harm", "test", "--source", "us", "--column", "md5=md5"]
    for name in ("JPEG", "html", "xlsx", "pickle"):
        data, told = FOREIGN[name]
        path = tmp_path / f"{name}.csv"
        path.write_bytes(data)
        assert cli.main([*base, str(path), *new]) == 2
        path = path.rename(tmp_path / f"{name}.dat")
        assert cli.main([*base, str(path), *new]) == 2  # without --format
        assert capsys.readouterr().err.count(told) == 2
    assert cli.main(["--data", str(tmp_path / "data"), "lists", "show", "new"]) == 2


def test_a_database_that_is_no_list_is_refused_with_the_reason(capsys, tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE people (name)")
    database.close()
    assert cli.main(["lists", "inspect", str(path)]) == 2
    said = capsys.readouterr()
    assert "neither a table FILE nor METADATA" in said.err
    assert "To import" not in said.err


@pytest.mark.parametrize(
    "head",
    [
        b"md5\n",
        b"MZ,md5\n0,1\n" * 20,
        b"BM;sha1\n",
        b'{"value": []}',
        b"<queryResult><images/></queryResult>",
        b'<?xml version="1.0"?>\n<!-- html -->\n<queryResult/>',
        b"HASH\r\n\xff\x00",
        b"PAR1",
        b"SQLite format 3\x00",
        b"(dpf) md5\n",
        b"cafe\n",
        "md5\n".encode("utf-16"),
        b"",
    ],
)
def test_lists_are_never_taken_for_something_else(head):
    assert what_it_is(head) is None


def test_of_every_format_what_is_written_is_no_foreign_file():
    assert all(what_it_is(name.encode()) is None for name in FORMATS)


class TestNearMisses:
    """Nearly a format: the likeliest is named, and what is missing."""

    CONTEXT = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
    RECORDS = ({"MediaID": 1, "MD5": "0123456789abcdef" * 2, "Category": 1},)
    OTHER_CASE = ({"mediaId": 1, "md5": "0123456789abcdef" * 2},)

    def look(self, tmp_path, data):
        path = tmp_path / "x.dat"
        path.write_bytes(data)
        (part,) = inspect_file(path).parts
        assert part.reading.refused
        return part.candidates[0], " ".join(part.reading.problems)

    @pytest.mark.parametrize(
        ("document", "why", "problem"),
        [
            ({"@odata.context": "http://example.org/#Media", "value": RECORDS}, "not that", "cont"),
            ({"@odata.context": CONTEXT.replace("2.0", "3.1"), "value": RECORDS}, "known", "3.1"),
            ({"@odata.context": CONTEXT.replace("#Media", "#X"), "value": RECORDS}, "#Media", "#M"),
            ({"@odata.context": CONTEXT, "Media": RECORDS}, "names a VICS 2.0", 'no array "value"'),
            ({"@odata.context": CONTEXT}, "names a VICS 2.0", 'no array "value"'),
            ({"value": RECORDS}, '"MediaID" and "MD5"', '"@odata.context"'),
            ({"records": RECORDS}, 'no "@odata.context"', 'no array "value"'),
            (
                {"@odata.Context": CONTEXT, "Value": OTHER_CASE},
                '"@odata.Context" for "@odata.context", "Value" for "value", "mediaId"',
                'no array "value"',
            ),
            (
                {"@odata.context": CONTEXT, "value": OTHER_CASE},
                'it writes "mediaId" for "MediaID", "md5" for "MD5", and case counts',
                "has no hash",
            ),
            ({"@odata.context": 7, "value": [], "by": "ProjectVic"}, "nothing says", "context"),
            (RECORDS, "bare array", "expected a JSON object"),
        ],
    )
    def test_vics(self, tmp_path, document, why, problem):
        best, problems = self.look(tmp_path, json.dumps(document).encode())
        assert best.format == "vics"
        assert why in best.why
        assert problem in problems
        assert "0123456789abcdef" not in best.why + problems

    def test_json_that_has_nothing_of_vics_is_not_taken_for_it(self, tmp_path):
        path = tmp_path / "x.json"
        path.write_bytes(b'{"value": [{"md5": 1}], "@odata.context": "x"}')
        assert {each.format for each in inspect_file(path).parts[0].candidates} == {"jsonl"}

    COLUMNS = (
        "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;"
        "Series name;Number of submissions;File Available;Media Type;Baseline"
    )

    @pytest.mark.parametrize(
        ("header", "why", "problem"),
        [
            (COLUMNS.replace(";Baseline", ""), "11 of the 12", "does not name Baseline"),
            (COLUMNS.replace(";", ","), "not between semicolons", "no semicolons"),
            (COLUMNS.replace("SHA1;PhotoDNA;", ""), "not SHA1 nor PhotoDNA", "SHA1, PhotoDNA"),
        ],
    )
    def test_icse(self, tmp_path, header, why, problem):
        best, problems = self.look(tmp_path, f"{header}\n".encode())
        assert best.format == "icse"
        assert why in best.why
        assert problem in problems

    def test_a_table_with_a_few_such_columns_is_a_table(self, tmp_path):
        path = tmp_path / "x.csv"
        path.write_bytes(b"MD5;SHA1;Media Type\n")
        assert inspect_file(path).parts[0].candidates[0].format == "csv"


@pytest.mark.parametrize(("name", "text"), [("vics", "{}"), ("stopncii", "{}"), ("ncmec", "<a/>")])
def test_utf16_is_told_with_what_to_do(tmp_path, name, text):
    """By an import as by inspection."""
    advice = "iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE"
    path = tmp_path / "list"
    path.write_bytes(text.encode("utf-16"))
    with path.open("rb") as stream, pytest.raises(FormatError, match=advice):
        open_reader(stream, format=name)
    (part,) = inspect_file(path).parts
    assert advice in part.advice


def test_what_does_not_begin_as_json_is_not_to_be_fetched_again():
    with pytest.raises(FormatError, match=r"begin with {; expected a JSON object; ") as caught:
        open_reader(io.BytesIO(b"MD5;SHA1\n"), format="vics")
    assert str(caught.value).endswith(
        "; hashwarden lists inspect tells what format a file looks like"
    )
