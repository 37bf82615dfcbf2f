"""Whatever member of whatever object of a record stands twice: that record alone is set aside.

The oracle is the standard library's parser, which hands over the members of each object as pairs.
Files are written here, since no library writes such objects: names with and without escapes, white
space anywhere, and any value for the member that stands twice.
"""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.formats.stix_extension import EXTENSION_ID
from hashlists.limits import ImportLimits
from hashlists.model import HashKind
from tests.export_support import value
from tests.page_support import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

VICS = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#"


class Members(list[tuple[str, Any]]):
    """The members of an object, in order; a name may come more than once."""


def text(kind: HashKind, number: int) -> str:
    return value(kind, number).hex()


def vics(number):
    md5 = text(HashKind.MD5, number)
    photodna = base64.b64encode(value(HashKind.PHOTODNA, number)).decode()
    alternatives = [
        {"MD5": md5, "HashName": "PDQ", "HashValue": text(HashKind.PDQ, number)},
        {"HashName": "PhotoDNA", "HashValue": photodna},
    ]
    return {
        "MediaID": number,
        "Category": None if number % 3 else 1,
        "MD5": md5,
        "AlternativeHashes": alternatives[: number % 3] or None,
        "VictimIdentified": True,
        "Series": None,
        "MediaFiles": [{"FilePath": 'a "b": {c}\\', "Deleted": True}] * (number % 2),
        "Comments": 'says "MD5": and "x" : "y"',
    }


def stopncii(number):
    return {
        "signalType": "ImagePDQ",
        "hashValue": text(HashKind.PDQ, number),
        "hashStatus": "Withdrawn" if number % 3 == 0 else "Active",
        "caseNumbers": {"27664732": "Active"},
        "CSPFeedbacks": [{"source": "a", "feedbackValue": "Blocked"}],
    }


def threatexchange(number):
    tags = [["a"], {"data": [{"text": "a", "id": 1}]}][number % 2]
    descriptor = {"owner": {"id": "7"}, "status": "MALICIOUS", "tags": tags}
    return {
        "id": str(number),
        "type": "HASH_PDQ",
        "indicator": text(HashKind.PDQ, number),
        "should_delete": number % 3 == 0,
        "descriptors": {"data": [descriptor]},
    }


def tat(number):
    return {
        "id": number,
        "algorithm": "MD5",
        "hash_digest": text(HashKind.MD5, number),
        "deleted": number % 3 == 0,
        "ideology": "x",
    }


def stix(number):
    return {
        "type": "file",
        "id": f"file--{number:08d}-0000-5000-8000-000000000000",
        "hashes": {"MD5": text(HashKind.MD5, number), "SHA-1": text(HashKind.SHA1, number)},
        "revoked": number % 3 == 0,
        "extensions": {
            EXTENSION_ID: {
                "entry_id": str(number),
                "flags": {"distributed": True},
                "perceptual_hashes": [{"algorithm": "pdq", "value": text(HashKind.PDQ, number)}],
            }
        },
    }


def misp(number):
    return {
        "uuid": f"{number:08d}-0000-4000-8000-000000000000",
        "type": "md5",
        "value": text(HashKind.MD5, number),
        "to_ids": True,
        "deleted": number % 3 == 0,
        "Tag": [{"name": 'copine-scale:level="5"', "colour": "x"}],
        "Galaxy": [{"x": {"y": 1}}],
    }


def misp_object(number):
    return {
        "uuid": f"{number:08d}-1000-4000-8000-000000000000",
        "name": "file",
        "Attribute": [misp(number + 500) | {"deleted": False}],
        "deleted": False,
    }


def jsonl(number):
    return {"id": str(number), "hashes": {"md5": text(HashKind.MD5, number)}, "x": [{"y": 1}]}


def own_jsonl(number):
    further = [{"kind": "pdq", "value": text(HashKind.PDQ, number)}]
    return {"md5": text(HashKind.MD5, number), "further_hashes": further, "retracted": False}


def hashlookup(number):
    return {
        "MD5": text(HashKind.MD5, number),
        "SHA-1": text(HashKind.SHA1, number),
        "FileName": "x",
        "parents": [{"MD5": text(HashKind.MD5, number + 500)}],
    }


def in_array(before: str, behind: str) -> Callable[[Sequence[str]], str]:
    return lambda records: before + ",".join(records) + behind


def in_lines(records):
    return "".join(f"{record}\n" for record in records)


def own_lines(records):
    ends = ('{"format":"hashwarden","version":1}', json.dumps({"records": len(records)}))
    return in_lines([ends[0], *records, ends[1]])


def in_cases(records):
    """Two cases, each with half of the media."""
    half = len(records) // 2
    cases = [f'{{"Media": [{",".join(each)}]}}' for each in (records[:half], records[half:])]
    return f'{{"@odata.context": "{VICS}Cases", "value": [{",".join(cases)}]}}'


@dataclass(frozen=True)
class Layout:
    """How files of a format are made.

    Attributes:
        record: gives the record of a number.
        document: from the texts of all records to that of the file.
        first: number of the place of the first record.
        is_lines: whether no record may hold a line end.
    """

    format: str
    record: Callable[[int], Mapping[str, Any]]
    document: Callable[[Sequence[str]], str]
    options: Mapping[str, str] | None = None
    first: int = 1
    is_lines: bool = False


LAYOUTS = {
    "vics": Layout("vics", vics, in_array(f'{{"@odata.context": "{VICS}Media", "value": [', "]}")),
    "cases": Layout("vics", vics, in_cases, {"cases": "media"}),
    "stopncii": Layout("stopncii", stopncii, in_array('{"hashRecords": [', "]}")),
    "threatexchange": Layout(
        "threatexchange", threatexchange, in_array('{"data": [', "]}"), {"tags": "a"}
    ),
    "tat": Layout("tat", tat, in_array('{"results": [', "]}")),
    "stix": Layout("stix", stix, in_array('{"type": "bundle", "objects": [', "]}")),
    "misp": Layout("misp", misp, in_array('{"Event": {"Attribute": [', '], "info": "x"}}')),
    "misp-objects": Layout("misp", misp_object, in_array('{"Event": {"Object": [', "]}}")),
    "jsonl": Layout(
        "jsonl", jsonl, in_lines, {"columns.md5": "hashes.md5", "columns.key": "id"}, is_lines=True
    ),
    "own": Layout("jsonl", own_jsonl, own_lines, first=2, is_lines=True),
    "hashlookup": Layout("hashlookup", hashlookup, in_lines, is_lines=True),
}


def members(tree):
    """The tree with objects as lists of pairs."""
    if isinstance(tree, dict):
        return Members((name, members(each)) for name, each in tree.items())
    return [members(each) for each in tree] if isinstance(tree, list) else tree


def objects(tree) -> Iterator[Members]:
    """All objects that have members, outer ones first."""
    if isinstance(tree, Members):
        if tree:
            yield tree
        for _, each in tree:
            yield from objects(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from objects(each)


def plant(tree: Members, chance: random.Random) -> None:
    """Makes a member of some object stand twice."""
    chosen = chance.choice(list(objects(tree)))
    name, said = chance.choice(chosen)
    again = chance.choice([said, said, None, 0, "x", Members([("x", 1)])])
    chosen.insert(chance.randint(0, len(chosen)), (name, again))


def written(tree: Any, chance: random.Random, *, spaces: Sequence[str]) -> str:
    """JSON of a tree, one way among many."""

    def space():
        return chance.choice(spaces)

    def name(plain):
        if chance.random() < 0.7:
            return json.dumps(plain)
        at = chance.randrange(len(plain))
        return f'"{plain[:at]}\\u{ord(plain[at]):04x}{plain[at + 1 :]}"'

    if isinstance(tree, Members):
        inner = [
            f"{space()}{name(key)}{space()}:{space()}{written(each, chance, spaces=spaces)}"
            for key, each in tree
        ]
        return "{" + ",".join(inner) + space() + "}"
    if isinstance(tree, list):
        inner = [written(each, chance, spaces=spaces) for each in tree]
        return "[" + f",{space()}".join(inner) + "]"
    return json.dumps(tree)


def repeats(record: str) -> bool:
    """Whether any object in a text has a member twice."""
    found = []

    def look(pairs):
        names = [name for name, _ in pairs]
        found.append(len(names) > len(set(names)))

    json.loads(record, object_pairs_hook=look)
    return any(found)


def outcome(layout, records, limits):
    found = run(layout.document(records).encode(), layout.format, layout.options, limits)
    places = [each.place.number for each in found.rejections]
    return found.rows, found.retractions, places, found.notes


@pytest.mark.parametrize("name", LAYOUTS)
@given(
    seed=st.integers(0, 2**32),
    planted=st.sets(st.integers(0, 8), max_size=4),
    block_bytes=st.sampled_from([1, 64, 700, 1 << 19]),
    compact=st.booleans(),
)
def test_records_with_a_member_twice_are_set_aside_alone(name, seed, planted, block_bytes, compact):
    layout, chance = LAYOUTS[name], random.Random(seed)
    spaces = [""] if compact else ["", "", " ", "\t", *([] if layout.is_lines else ["\n"])]
    records = []
    for number in range(9):
        tree = members(layout.record(number))
        if number in planted:
            plant(tree, chance)
        records.append(written(tree, chance, spaces=spaces))
    assert {number for number, record in enumerate(records) if repeats(record)} == planted
    limits = ImportLimits(block_bytes=block_bytes)
    rows, retractions, places, _ = outcome(layout, records, limits)
    assert places == [layout.first + number for number in sorted(planted)]
    kept = [record for number, record in enumerate(records) if number not in planted]
    assert (rows, retractions, []) == outcome(layout, kept, limits)[:3]


@pytest.mark.parametrize("name", ["vics", "cases", "stopncii", "misp", "stix", "jsonl"])
@pytest.mark.parametrize("is_repeated", [True, False])
def test_large_files_of_many_blocks(name, is_repeated):
    layout, chance = LAYOUTS[name], random.Random(name)
    limits = ImportLimits(block_bytes=16_384)
    records = [json.dumps(layout.record(number)) for number in range(800)]
    planted = sorted(chance.sample(range(800), 60)) if is_repeated else []
    for number in planted:
        tree = members(layout.record(number))
        plant(tree, chance)
        records[number] = written(tree, chance, spaces=[""])
    rows, retractions, places, _ = outcome(layout, records, limits)
    assert places == [layout.first + number for number in planted]
    assert len(rows) + len(retractions) == 800 - len(planted)
