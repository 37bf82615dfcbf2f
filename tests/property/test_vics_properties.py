"""However a VICS file is written and cut into blocks, it means what `json.load` says it means."""

from __future__ import annotations

import base64
import binascii
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from hashlists.errors import FormatError
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Classification, EntryFlag, Handling, HashKind
from hashlists.validate import KEY_TAGS, validate

CONTEXT = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/UK/$metadata#Media"
SPACES = st.text(" \t\r\n", max_size=3)
FLAGS = {
    "VictimIdentified": EntryFlag.VICTIM_IDENTIFIED,
    "OffenderIdentified": EntryFlag.OFFENDER_IDENTIFIED,
    "SelfGenerated": EntryFlag.SELF_GENERATED,
    "IsDistributed": EntryFlag.DISTRIBUTED,
    "IsSuspected": EntryFlag.SUSPECTED,
    "IsPrecategorized": EntryFlag.PRECATEGORIZED,
}
NASTY = st.text(st.sampled_from('{}[]",:\\ \né€😀a'), max_size=12)


def raw(kind: HashKind) -> st.SearchStrategy[bytes]:
    """Values that are neither degenerate nor of the empty file."""
    size = kind.nbytes
    return st.binary(min_size=size - 2, max_size=size - 2).map(
        lambda body: (b"\x5a\xa5" * 8 + body)[:size] if size > 16 else b"\x5a\xa5" + body
    )


def optional(strategy):
    return st.none() | strategy


@st.composite
def media(draw):
    """One record, as the tree that `json.load` would give."""
    cased = st.sampled_from([str.lower, str.upper])
    record = {
        "MediaID": draw(st.integers(0, 2**31) | st.integers(0, 99).map(str)),
        "Category": draw(st.integers(0, 9) | st.sampled_from(["0", "1", "B", "", None])),
        "MD5": draw(cased)(draw(raw(HashKind.MD5)).hex()),
        "SHA1": draw(optional(raw(HashKind.SHA1).map(bytes.hex))),
        "PhotoDNA": draw(
            optional(raw(HashKind.PHOTODNA).map(lambda v: base64.b64encode(v).decode()))
        ),
        "MediaSize": draw(st.integers(1, 2**40) | st.integers(1, 99).map(str) | st.none()),
        "DateUpdated": draw(st.sampled_from([None, "2023-06-07T02:31:49.8300Z"])),
        "Series": draw(st.sampled_from([None, "", "a name"])),
        "Comments": draw(NASTY),
        "Exifs": draw(st.lists(st.dictionaries(NASTY, NASTY, max_size=2), max_size=2)),
    }
    for name in FLAGS:
        record[name] = draw(st.sampled_from([None, True, False, "true", "FALSE"]))
    hashes = draw(st.lists(raw(HashKind.PDQ).map(bytes.hex), max_size=3))
    record["AlternativeHashes"] = [{"HashName": "PDQ", "HashValue": text} for text in hashes]
    absent = draw(st.sets(st.sampled_from([name for name in record if name != "MD5"])))
    return {name: record[name] for name in record if name not in absent}


def flag_word(word):
    return None if word in (None, "") else str(word).lower() == "true"


def expected(record):
    """What one record means, worked out the slow and obvious way."""
    hashes = {HashKind.MD5: bytes.fromhex(record["MD5"])}
    if record.get("SHA1"):
        hashes[HashKind.SHA1] = bytes.fromhex(record["SHA1"])
    if record.get("PhotoDNA"):
        hashes[HashKind.PHOTODNA] = binascii.a2b_base64(record["PhotoDNA"])
    codes = [bytes.fromhex(item["HashValue"]) for item in record.get("AlternativeHashes", [])]
    codes = list(dict.fromkeys(codes))
    if codes:
        hashes[HashKind.PDQ] = codes[0]
    category = record.get("Category")
    said = {bit: flag_word(record.get(name)) for name, bit in FLAGS.items()}
    said[EntryFlag.SERIES] = True if record.get("Series") else None
    size = record.get("MediaSize")
    media_id = record.get("MediaID")
    return {
        "key": KEY_TAGS[HashKind.MD5] + hashes[HashKind.MD5],
        "hashes": hashes,
        "extra": codes[1:],
        "class": None if category in (None, "") else Classification("vics", "UK", str(category)),
        "size": None if size is None else int(size),
        "id": None if media_id is None else str(media_id),
        "updated": record.get("DateUpdated"),
        "flags": sum(bit for bit, word in said.items() if word),
        "known": sum(bit for bit, word in said.items() if word is not None),
    }


def imported(data, block_bytes):
    """What the reader and validation make of a file, row by row, with numbers and offsets."""
    rows = []
    limits = ImportLimits(block_bytes=block_bytes)
    reader = open_reader(io.BytesIO(data), format="vics", limits=limits)
    for batch in reader:
        result = validate(batch, default_handling=Handling())
        assert not result.rejections
        entries = result.entries
        for row in range(len(entries)):
            present = {kind: values[row] for kind, values in entries.hashes.items() if values[row]}
            found = {
                "key": entries.keys[row],
                "hashes": present,
                "extra": [v for at, kind, v, _ in entries.extra_hashes if at == row],
                "class": entries.classifications[row],
                "size": entries.sizes[row],
                "id": entries.source_ids[row],
                "updated": entries.source_updated_at[row],
                "flags": entries.flags[row],
                "known": entries.flags_known[row],
            }
            rows.append((found, entries.place_at(row), entries.content_digests[row]))
    assert reader.bytes_read == len(data)
    return rows


@st.composite
def written(draw, records):
    """The records as a file: any order of keys, white space, escapes, place of the context."""

    def member(key, text):
        return f"{json.dumps(key)}{draw(SPACES)}:{draw(SPACES)}{text}"

    def write(tree):
        if isinstance(tree, dict):
            members = [member(key, write(value)) for key, value in tree.items()]
            comma = draw(SPACES) + "," + draw(SPACES)
            return "{" + comma.join(draw(st.permutations(members))) + "}"
        if isinstance(tree, list):
            return "[" + f"{draw(SPACES)},".join(map(write, tree)) + "]"
        return json.dumps(tree, ensure_ascii=draw(st.booleans()))

    gap = draw(SPACES)
    array = gap + f"{gap},{gap}".join(map(write, records)) + gap
    members = [
        member("@odata.context", json.dumps(CONTEXT)),
        member("value", f"[{array}]"),
        member("@odata.count", str(len(records))),
    ]
    body = f"{gap},{gap}".join(draw(st.permutations(members)))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    return (mark + f"{draw(SPACES)}{{{gap}{body}{gap}}}{draw(SPACES)}").encode()


@given(st.data())
def test_any_writing_of_a_file_means_the_same(data):
    records = data.draw(st.lists(media(), max_size=5))
    text = data.draw(written(records))
    assert json.loads(text.decode("utf-8-sig"))["value"] == records
    rows = imported(text, data.draw(st.sampled_from([1, 2, 7, 100, 1000, 1 << 20])))
    assert [found for found, _, _ in rows] == [expected(record) for record in records]
    for number, (_, place, _) in enumerate(rows, start=1):
        assert (place.unit, place.number) == ("record", number)
        decoded, _ = json.JSONDecoder().raw_decode(text[place.offset :].decode())
        assert decoded == records[number - 1]


@given(st.lists(media(), min_size=2, max_size=6), st.integers(1, 3000))
def test_equal_content_has_equal_digests_and_other_content_others(records, block_bytes):
    document = {"@odata.context": CONTEXT, "value": [*records, *reversed(records)]}
    rows = imported(json.dumps(document).encode(), block_bytes)

    def canonical(found):
        return repr(
            {**found, "extra": sorted(found["extra"]), "hashes": sorted(found["hashes"].items())}
        )

    by_content: dict[str, set[bytes]] = {}
    for found, _, digest in rows:
        by_content.setdefault(canonical(found), set()).add(digest)
    assert all(len(digests) == 1 for digests in by_content.values())
    assert len(set.union(*by_content.values())) == len(by_content)


@given(st.lists(media(), min_size=1, max_size=3), st.data())
def test_a_damaged_byte_is_an_error_or_changes_no_other_record(records, data):
    """Neighbours of a damaged record come out as they were, or the file is refused."""
    text = json.dumps({"@odata.context": CONTEXT, "value": records}).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :]
    good = {row[0]["key"] for row in imported(text, 1 << 16)}
    keys = []
    try:
        reader = open_reader(io.BytesIO(damaged), format="vics")
        for batch in reader:
            result = validate(batch, default_handling=Handling())
            keys += result.entries.keys
            assert len(result.entries) + len(result.rejections) == batch.rows + len(
                batch.rejections
            )
    except FormatError:
        return
    assert len(set(keys) - good) <= 1
