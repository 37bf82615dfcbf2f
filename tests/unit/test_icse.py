"""The ICSE hash CSV: its columns in any order, its words, what is dropped unless asked for."""

from __future__ import annotations

import base64
import csv
import io

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import Sample
from hashlists.formats.icse import looks_like
from hashlists.formats.icse_columns import COLUMNS
from hashlists.formats.registry import open_reader
from hashlists.limits import DEFAULT_LIMITS
from hashlists.model import NO_ONWARD_SHARING, Classification, EntryFlag, Handling, HashKind
from hashlists.validate import KEY_TAGS, validate
from tests.export_support import Row, export_batch, read, value, write

BASELINE = Classification("interpol", "", "baseline")


def record(number=1, **changes):
    """One record by column, as the published description has it."""
    return {
        "MD5": value(HashKind.MD5, number).hex(),
        "SHA1": value(HashKind.SHA1, number).hex(),
        "ZZ40": "0123456789ABCDEF" * 2,
        "PhotoDNA": value(HashKind.PHOTODNA, number).hex().upper(),
        "Lace": "TGFjZQ==",
        "Image ID": f"ID-{number}",
        "Is distributed": "Y",
        "Victim identified": "N",
        "Offender identified": "",
        "Series name": "SECRET-SERIES",
        "Investigation name": "SECRET-CASE",
        "Agency": "SECRET-UNIT",
        "Number of submissions": "3",
        "File Available": "True",
        "Media Type": "Image",
        "Baseline": "Yes",
    } | changes


def table(*records, columns=COLUMNS):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, delimiter=";", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue().encode()


def test_what_is_taken_over_and_what_is_not():
    found = read(table(record()), "icse")
    (row,) = found.rows
    kinds = (HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA)
    assert row == Row(
        key=KEY_TAGS[HashKind.SHA1] + value(HashKind.SHA1, 1),
        hashes={kind: value(kind, 1) for kind in HashKind if kind in kinds},
        classification=BASELINE,
        flags=EntryFlag.DISTRIBUTED | EntryFlag.BASELINE,
        flags_known=EntryFlag.DISTRIBUTED | EntryFlag.VICTIM_IDENTIFIED | EntryFlag.BASELINE,
        source_id="ID-1",
    )
    assert "SECRET" not in repr(found)
    assert found.notes == {
        "hash of unknown kind left aside: ZZ40": 1,
        "hash of unknown kind left aside: Lace": 1,
    }


def test_what_is_asked_for_is_kept_and_no_name_but_the_agency():
    options = {"series": "yes", "agency": "yes", "submissions": "yes", "key_by_image_id": "yes"}
    (row,) = read(table(record()), "icse", options).rows
    assert EntryFlag.SERIES in row.flags
    assert row.handling == Handling("SECRET-UNIT")
    assert row.verified_count == 3
    assert row.key == b"\x00ID-1"
    assert "SECRET-SERIES" not in repr(row)
    assert "SECRET-CASE" not in repr(row)


def test_an_empty_agency_leaves_the_handling_to_the_list():
    handling = Handling("the list's source")
    data = table(record(Agency=""))
    (row,) = read(data, "icse", {"agency": "yes"}, handling=handling).rows
    assert row.handling == handling


def test_columns_in_any_order_and_without_the_four_that_others_do_not_need():
    needed = [
        name for name in COLUMNS if name not in ("ZZ40", "Lace", "Investigation name", "Agency")
    ]
    whole = read(table(record()), "icse").rows
    assert read(table(record(), columns=needed[::-1]), "icse").rows == whole
    assert read(b"\xef\xbb\xbf" + table(record()), "icse").rows == whole


@pytest.mark.parametrize(
    ("yes", "no"), [("Yes", "No"), ("y", "n"), ("TRUE", "F"), (" t ", "false")]
)
def test_words_for_yes_and_no(yes, no):
    data = table(record(**{"Is distributed": yes, "Victim identified": no, "Baseline": no}))
    (row,) = read(data, "icse").rows
    assert row.flags == EntryFlag.DISTRIBUTED
    assert EntryFlag.BASELINE in row.flags_known
    assert row.classification is None


def test_photodna_in_its_other_encodings():
    raw = value(HashKind.PHOTODNA, 1)
    for text in (base64.b64encode(raw).decode(), ",".join(map(str, raw)), raw.hex()):
        (row,) = read(table(record(PhotoDNA=text)), "icse").rows
        assert row.hashes[HashKind.PHOTODNA] == raw


def test_a_bad_word_rejects_its_record_alone():
    data = table(record(1, Baseline="maybe"), record(2))
    (raw,) = open_reader(io.BytesIO(data), format="icse")
    result = validate(raw, default_handling=NO_ONWARD_SHARING)
    assert [(each.place.number, each.field) for each in result.rejections] == [(2, "Baseline")]
    assert len(result.entries) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"MD5;SHA1\n", "does not name PhotoDNA, Image ID"),
        (table(record()).replace(b";", b","), "no semicolons"),
        (b"", "the file is empty"),
        (table(record())[:-40], "the file ends inside a record"),
    ],
)
def test_other_and_cut_files_are_refused(data, message):
    with pytest.raises(FormatError, match=message):
        read(data, "icse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "x"}, "unknown option 'colour'; allowed: key_by_image_id"),
        ({"series": "maybe"}, "series must be yes or no"),
        ({"encoding": "ebcdic"}, "unknown encoding"),
        ({"agency": "yes"}, "names the column 'Agency', which the file does not have"),
    ],
)
def test_wrong_options(options, message):
    data = table(record(), columns=[name for name in COLUMNS if name != "Agency"])
    with pytest.raises(OptionsError, match=message):
        open_reader(io.BytesIO(data), format="icse", options=options)


def test_a_file_is_told_by_its_columns():
    likeness = looks_like(Sample(table(record())[:500]))
    assert likeness.score >= 90
    assert "12 columns" in likeness.why
    assert looks_like(Sample(b"MD5;SHA1;PhotoDNA\n")) is None
    assert looks_like(Sample(b'{"value": []}')) is None
    assert looks_like(Sample(table(record()).decode().encode("utf-16"))).options == {
        "encoding": "utf-16"
    }


def test_header_and_progress():
    data = table(record())
    reader = open_reader(io.BytesIO(data), format="icse", limits=DEFAULT_LIMITS)
    assert reader.format == "icse"
    assert reader.header.scheme == "interpol"
    list(reader)
    assert reader.bytes_read == len(data)


def row(number=1, **changes):
    kinds = (HashKind.MD5, HashKind.SHA1)
    hashes = {kind: value(kind, number) for kind in kinds}
    return Row(key=KEY_TAGS[HashKind.SHA1] + hashes[HashKind.SHA1], hashes=hashes, **changes)


def test_the_writer_follows_the_description():
    drawn = row(
        source_id="17",
        media_type="video/mp4",
        classification=BASELINE,
        flags=EntryFlag.VICTIM_IDENTIFIED,
        flags_known=EntryFlag.VICTIM_IDENTIFIED | EntryFlag.DISTRIBUTED,
    )
    data, losses = write([export_batch([drawn])], "icse")
    first, second = data.decode().split("\r\n")[:2]
    assert first.split(";") == list(COLUMNS)
    cells = dict(zip(COLUMNS, second.split(";"), strict=True))
    assert cells["MD5"] == drawn.hashes[HashKind.MD5].hex()
    assert (cells["Is distributed"], cells["Victim identified"]) == ("N", "Y")
    assert cells["Offender identified"] == ""
    assert (cells["Baseline"], cells["Media Type"], cells["File Available"]) == (
        "Yes", "Video", "False",
    )  # fmt: skip
    assert losses == {"media type": 1}


def test_what_cannot_be_written_is_counted_by_name():
    drawn = [
        row(
            1,
            size=7,
            extra=((HashKind.PDQ, value(HashKind.PDQ, 1), None),),
            classification=Classification("vics", "US", "1"),
            handling=Handling("a", ("b",)),
            flags_known=EntryFlag.SERIES,
            verified_count=3,
            source_id="=1+1",
            updated_at="x",
        ),
        Row(key=b"\x00a", hashes={HashKind.PDQ: value(HashKind.PDQ, 2)}),
        row(3),
    ]
    batch = export_batch(drawn, retracted=[False, False, True], reasons=[None, None, "gone"])
    data, losses = write([batch], "icse")
    assert data.count(b"\r\n") == 2
    assert losses == {
        "withdrawals": 1,
        "entries without a hash that the format needs": 1,
        "further hashes": 1,
        "size": 1,
        "updated at": 1,
        "source id": 1,
        "classification": 1,
        "series": 1,
        "verified count": 1,
        "originator": 1,
        "releasable to": 1,
    }


def test_the_writer_knows_its_options():
    with pytest.raises(OptionsError, match="unknown option 'colour'"):
        write([], "icse", {"colour": "x"})
    with pytest.raises(OptionsError, match="agency must be yes or no"):
        write([], "icse", {"agency": "maybe"})
