"""`hashwarden lists add`: files become entries by their hashes alone, as one revision."""

from __future__ import annotations

import hashlib
import json
import sqlite3

import pytest
from PIL import Image

from hashlists.catalog import Catalog
from hashlists.contribution import Contribution
from hashlists.errors import ImportInProgressError, ListNotFoundError
from hashlists.formats.base import Encoding, FileHeader, HashColumn, RawBatch
from hashlists.model import Harm, HashKind, HashList, Place
from matcher import cli, demo
from matcher.cli import lists_add
from matcher.cli.media_signs import HEAD_BYTES, is_picture_or_video


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *map(str, arguments)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


@pytest.fixture
def add(run):
    run("lists", "create", "own", "--harm", "test", "--source", "Us")

    def ran(*arguments, status=0):
        (line,) = run(
            "lists", "add", *arguments, "--list", "own", "--json", status=status
        ).out.splitlines()
        return json.loads(line)

    return ran


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path / 'data' / 'catalog.sqlite3'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        (folder / "below").mkdir(exist_ok=True)
        name = f"{number}.png" if number else "below/0.jpg"
        Image.fromarray(demo.paint(700 + number, 200, 160)).save(folder / name)
    return folder


def only_entry(catalog):
    with catalog.read() as reader:
        (columns,) = reader.entry_columns(batch_size=10)
    return catalog.entry(int(columns.entry_ids[0]))


def test_a_file_becomes_an_entry_of_its_hashes(add, pictures, catalog):
    file = pictures / "1.png"
    report = add(file, "--classification", "vics/UK/1", "--crops", "0.05,0.02", "--kind", "phash")
    assert (
        report.items() >= {"files": 1, "read": 1, "added": 1, "derived": 2, "not_hashed": 0}.items()
    )
    entry = only_entry(catalog)
    data = file.read_bytes()
    assert {kind: entry.hashes[kind] for kind in ("md5", "sha1", "sha256")} == {
        name: hashlib.new(name, data).digest() for name in ("md5", "sha1", "sha256")
    }
    assert set(entry.hashes) == {*("md5", "sha1", "sha256"), "pdq", "phash"}
    assert entry.key == b"\x01" + hashlib.sha256(data).digest()
    assert (entry.size, entry.media_type) == (len(data), "image/png")
    label = entry.classification
    assert (label.scheme, label.profile, label.code) == ("vics", "UK", "1")
    assert entry.extra_derivations == ("crop:0.02", "crop:0.05")
    assert {kind for kind, _ in entry.extra_hashes} == {HashKind.PDQ}
    assert entry.source_id is None
    assert report["sha256"] == hashlib.sha256(hashlib.sha256(data).digest()).hexdigest()


def test_neither_names_nor_pixels_reach_the_catalog(add, pictures, tmp_path):
    add(pictures)
    stored = b"".join(each.read_bytes() for each in (tmp_path / "data").glob("catalog.sqlite3*"))
    assert b"0.jpg" not in stored
    assert str(pictures).encode() not in stored
    assert (pictures / "1.png").read_bytes()[64:96] not in stored


def test_folders_are_one_revision_and_the_same_files_again_change_nothing(add, pictures, run):
    report = add(pictures)
    assert (report["added"], report["files"], report["revision"]) == (3, 3, 2)
    again = add(pictures / "2.png", pictures)
    assert (again["added"], again["unchanged"], again["revision"]) == (0, 4, 0)
    (import_,) = [
        json.loads(line)
        for line in run("lists", "revisions", "own", "--json").out.splitlines()
        if json.loads(line)["kind"] == "import"
    ]
    assert import_["added"] == 3


def test_what_cannot_be_hashed_is_added_by_its_digests_and_reported(add, tmp_path, catalog):
    video = tmp_path / "some.mp4"
    video.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    report = add(video, tmp_path / "missing.png", status=lists_add.EXIT_NOT_HASHED)
    assert (report["added"], report["files"], report["not_hashed"]) == (1, 2, 2)
    told = {each["path"]: (each["reason"], each["added"]) for each in report["problems"]}
    assert told[str(tmp_path / "missing.png")] == ("unreadable", False)
    assert told[str(video)] == ("unsupported", True)
    assert set(only_entry(catalog).hashes) == {"md5", "sha1", "sha256"}


def test_a_picture_without_detail_is_added_by_its_digests(add, run, tmp_path, catalog):
    Image.new("RGB", (100, 80), (40, 50, 60)).save(tmp_path / "flat.png")
    told = run("lists", "add", tmp_path / "flat.png", "--list", "own", "--kind", "ahash", status=2)
    assert "added by its digests alone: featureless: of PDQ quality 0" in told.err
    assert "may stand on many machines" in told.err
    assert set(only_entry(catalog).hashes) == {"md5", "sha1", "sha256"}


def test_what_is_no_picture_is_left_out_unless_it_is_wanted(add, run, pictures, tmp_path, catalog):
    (tmp_path / "files").mkdir()
    readme = tmp_path / "files" / "readme.txt"
    readme.write_text("BMW has 4 of these; they are free")
    (tmp_path / "files" / "a.png").write_bytes((pictures / "1.png").read_bytes())
    report = add(tmp_path / "files", status=lists_add.EXIT_NOT_HASHED)
    assert report.items() >= {"files": 2, "read": 1, "added": 1, "skipped": 1}.items()
    (problem,) = report["problems"]
    assert (problem["path"], problem["reason"], problem["added"]) == (str(readme), "skipped", False)
    assert "--all-files" in problem["detail"]
    assert only_entry(catalog).media_type == "image/png"
    told = run("lists", "add", readme, "--list", "own", status=2).err
    assert "readme.txt: not added: skipped" in told
    assert "1 file was left out" in told
    report = add(tmp_path / "files", "--all-files", status=lists_add.EXIT_NOT_HASHED)
    assert report.items() >= {"added": 1, "unchanged": 1, "skipped": 0}.items()


def test_a_video_above_the_size_limit_is_no_other_file(add, tmp_path, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_IMAGE_BYTES", str(1 << 20))
    for name, begin in (("a.webm", b"\x1a\x45\xdf\xa3"), ("b.log", b"2026")):
        (tmp_path / name).write_bytes(begin + bytes(1 << 21))
    report = add(tmp_path / "a.webm", tmp_path / "b.log", status=lists_add.EXIT_NOT_HASHED)
    told = {each["path"][-6:]: each["reason"] for each in report["problems"]}
    assert told == {"a.webm": "over_limit", "/b.log": "skipped"}


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"BM" + bytes(12),
            b"II\x2a\x00",
            b"RIFF\1\2\3\4AVI LIST",
        ),
        *(b"\0\0\0\x18ftypisom", b"\0\1\2\3mdat", b"\0\0\1\xba", b"FLV\x01", b"P6\n640 480\n"),
        (b"G" + bytes(187)) * 3,
        (bytes(4) + b"G" + bytes(187)) * 3,
    ],
)
def test_pictures_and_videos_show_themselves(head):
    assert is_picture_or_video(head[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"BM on its own", b"I'm free of signs", b"RIFF....WAVE", b"P5 a page", b"%PDF-1.7"),
        *(b"PK\3\4", b"Gone " * 100, b"OggSo", b"{}", b"MD5\n", b"\x7fELF", b"<svg>", b"IIROC"[:3]),
    ],
)
def test_other_files_have_no_sign(head):
    assert not is_picture_or_video(head[:HEAD_BYTES])


def test_known_good_files_are_added_where_that_is_said(run, add, pictures):
    run("lists", "create", "good", "--harm", "known_good", "--source", "Us")
    told = run("lists", "add", pictures, "--list", "good", status=2).err
    assert "add --known-good if the files are known to be harmless" in told
    told = run("lists", "add", pictures, "--list", "own", "--known-good", status=2).err
    assert "what is added to it matches" in told
    run("lists", "add", pictures, "--list", "good", "--known-good")


def test_the_empty_file_is_refused_and_its_neighbours_are_not(add, pictures, tmp_path):
    (tmp_path / "empty.png").touch()
    report = add(tmp_path / "empty.png", pictures / "1.png", status=2)
    assert (report["added"], report["rejected"], report["not_hashed"]) == (1, 1, 1)
    (problem,) = report["problems"]
    assert (problem["reason"], problem["added"]) == ("rejected", False)
    assert "empty file" in problem["detail"]


def test_what_systems_leave_behind_is_not_taken_from_a_folder(tmp_path):
    for name in ("b.png", "a.png", ".DS_Store", "Thumbs.db", "Desktop.ini"):
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / ".hidden").mkdir()
    found = list(lists_add.all_files([str(tmp_path), "-", "missing"]))
    assert found == [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-", "missing"]


def test_a_folder_that_cannot_be_read_is_reported(add, tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(lists_add.os, "scandir", refused)
    report = add(tmp_path / "closed", status=2)
    assert report["problems"][0]["reason"] == "unreadable"


@pytest.mark.parametrize("text", ["vics", "vics/UK", "/UK/1", "vics/UK/", f"a/b/{'c' * 65}"])
def test_a_classification_has_three_parts(run, text):
    told = run("lists", "add", "a.png", "--list", "own", "--classification", text, status=2)
    assert "--classification" in told.err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0.5",
        "nan",
        "x",
        "0.1,,0.2",
        "0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09",
    ],
)
def test_crops_are_a_few_shares_below_a_half(run, text):
    assert "--crops" in run("lists", "add", "a.png", "--list", "own", "--crops", text, status=2).err


def test_a_list_that_does_not_exist_is_not_made(add, run, pictures):
    told = run("lists", "add", pictures, "--list", "other", status=2)
    assert "no list" in told.err


def test_the_report_for_people(run, add, pictures):
    told = run("lists", "add", pictures, "--list", "own", "--crops", "0.02")
    assert "added\t3" in told.out
    assert "3 codes of crops" in told.err


def test_copies_that_were_cut_are_found_by_the_crops(add, run, pictures, tmp_path):
    with Image.open(pictures / "1.png") as opened:
        opened.crop((10, 8, 190, 152)).save(tmp_path / "cut.png")
    add(pictures / "1.png")
    run("match", tmp_path / "cut.png", status=0)
    add(pictures / "1.png", "--crops", "0.05")
    (line,) = run("match", tmp_path / "cut.png", "--json", status=1).out.splitlines()
    match = json.loads(line)["matches"][0]
    assert (match["kind"], match["basis"]) == ("pdq", "near")
    run("lists", "retract", "own", match["entry"], "--reason", "a mistake")
    run("match", tmp_path / "cut.png", status=0)


def test_codes_of_crops_outlast_imports_and_are_not_exported(add, run, pictures, tmp_path, catalog):
    file = pictures / "1.png"
    add(file, "--crops", "0.02,0.05")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    exported = tmp_path / "own.jsonl"
    out = ("--list", "own", "--format", "jsonl", "--to", exported, "--own-copy")
    run("lists", "export", *out)
    written = exported.read_text()
    assert sha256 in written
    assert "further_hashes" not in written
    assert "crop" not in written
    told = run("lists", "export", *out, "--force", "--derived", "--json")
    assert json.loads(told.out)["losses"] == {}
    assert exported.read_text().count('"derivation":"crop:') == 2
    digests = tmp_path / "digests.csv"
    digests.write_text(f"sha256\n{sha256}\n")
    run("lists", "import", digests, "--list", "own", "--column", "sha256=sha256")
    assert only_entry(catalog).extra_derivations == ("crop:0.02", "crop:0.05")
    with Image.open(file) as opened:
        opened.crop((10, 8, 190, 152)).save(tmp_path / "cut.png")
    run("match", tmp_path / "cut.png", status=1)


def test_files_added_again_keep_their_crops_and_gain_further_ones(add, pictures, catalog):
    file = pictures / "1.png"
    add(file, "--crops", "0.02")
    assert add(file)["revision"] == 0
    again = add(file, "--crops", "0.02,0.05")
    assert again.items() >= {"updated": 1, "unchanged": 0, "derived": 2}.items()
    assert only_entry(catalog).extra_derivations == ("crop:0.02", "crop:0.05")
    assert add(file, "--crops", "0.02,0.05").items() >= {"revision": 0, "unchanged": 1}.items()


def test_a_class_that_is_gone_is_told(add, run, pictures, catalog):
    file = pictures / "1.png"
    add(file, "--classification", "vics/US/1")
    told = run("lists", "add", file, "--list", "own").err
    assert "1 entry was there already" in " ".join(told.split())
    assert only_entry(catalog).classification is None
    told = run("lists", "add", file, "--list", "own", "--classification", "vics/US/1").err
    assert "there already" not in " ".join(told.split())


def test_codes_of_crops_are_purged_with_their_entry_and_stay_away(add, run, pictures, catalog):
    file = pictures / "1.png"
    add(file, "--crops", "0.02")
    entry_id = only_entry(catalog).entry_id
    run("lists", "purge", "own", entry_id, "--reason", "by law", "--yes")
    assert catalog.list_derived("own") == []
    assert add(file, "--crops", "0.02", status=2).items() >= {"rejected": 1, "derived": 0}.items()


# --- Contribution ---------------------------------------------------------------------------------


@pytest.fixture
def memory(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path / 'c.db'}") as opened:
        opened.create_list(HashList("own", Harm.TEST, "us"), author="us")
        yield opened


def raw(*values):
    return RawBatch(
        rows=len(values),
        header=FileHeader("files", "", "", ""),
        hashes=[HashColumn(HashKind.SHA256, values, Encoding.RAW, "sha256")],
        sizes=[7] * len(values),
        place_at=lambda row: Place("file", row + 1),
    )


def test_nothing_counts_before_the_commit(memory):
    with Contribution.begin(memory, "own", author="us") as contribution:
        assert contribution.stage(raw(b"a" * 32)) == []
        with pytest.raises(ImportInProgressError):
            Contribution.begin(memory, "own", author="us")
    assert memory.get_list("own").coverage.entries == 0


def test_what_was_contributed_is_kept_with_the_import(memory, tmp_path):
    with Contribution.begin(memory, "own", author="us", reason="why") as contribution:
        assert contribution.stage(raw(b"a" * 32, b"b" * 32)) == []
        (rejection,) = contribution.stage(raw(bytes(32), b"c" * 32))
        report = contribution.commit()
    assert str(rejection.place) == "file 1"
    assert (report.read, report.added, report.rejected, report.revision) == (4, 3, 1, 2)
    expected = hashlib.sha256(b"a" * 32 + b"b" * 32 + b"c" * 32)
    assert report.sha256 == expected.hexdigest()
    with sqlite3.connect(tmp_path / "c.db") as database:
        row = database.execute(
            "SELECT format, file_sha256, file_length, report FROM imports"
        ).fetchone()
    database.close()
    assert row[:3] == ("files", expected.digest(), 21)
    assert json.loads(row[3])["added"] == 3


def test_a_list_is_needed(memory):
    with pytest.raises(ListNotFoundError):
        Contribution.begin(memory, "other", author="us")


def test_media_types_are_those_of_the_decoder():
    from matcher.decode.worker.sniff import Format
    from matcher.model import MEDIA_TYPES

    assert {each.value for each in Format} <= MEDIA_TYPES.keys()
