"""What lists of many formats say of a hash, from their files to the answer.

A class that an issuer's own scheme calls abuse may decide a match; one that no row of the table
names means review, whatever the format; and lists that disagree both stay.
"""

from __future__ import annotations

import io
import json
import sys

import pytest

from hashlists.formats.registry import find_format, format_names
from hashlists.model import Harm, HashKind
from matcher import cli
from matcher.client import AsyncClient, HashQuery
from matcher.service.server import running
from matcher.settings import load_settings
from tests import list_samples
from tests.list_samples import SAMPLES, Record, raw

SHA1, MD5, PDQ, SHA256 = HashKind.SHA1, HashKind.MD5, HashKind.PDQ, HashKind.SHA256
OLD = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"


def run(data, *arguments):
    """Standard output, standard error and exit status of a command."""
    out, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", told)
        status = cli.main(["--data", str(data), *map(str, arguments)])
    return out.getvalue(), told.getvalue(), status


def records(data, *arguments):
    out, told, _ = run(data, *arguments, "--json")
    assert "this is a bug" not in told
    return [json.loads(line) for line in out.splitlines()]


def bring(data, path, content, name, list_name, *more, harm=None):
    """Imports a file into a list that it makes."""
    path.write_bytes(content)
    sample = SAMPLES[name]
    options = [f"--option={key}={value}" for key, value in sample.options.items()]
    (report,) = records(
        data, "lists", "import", path, "--format", name, "--list", list_name,
        "--harm", harm or sample.harm, "--source", "somebody", *options, *more,
    )  # fmt: skip
    assert report["rejected"] == 0
    return report


def vics(profile, codes, first):
    """A hash set of one record for each category, its context as each profile writes it."""
    rows = [
        {"MD5": raw(MD5, n).hex(), "SHA1": raw(SHA1, n).hex(), "MediaID": n, "Category": code}
        for n, code in enumerate(codes, start=first)
    ]
    context = (
        f"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{profile}/$metadata#Media"
    )
    key = "@odata.context" if profile else "odata.metadata"
    return json.dumps({key: context if profile else OLD, "value": rows}).encode()


MATCH, REVIEW, NONE = "MATCH", "REVIEW", "NO_KNOWN_MATCH"
#: By profile: what each category may decide. Only the two profiles whose categories are published.
VICS = {
    "US": {0: NONE, 1: MATCH, 2: REVIEW, 3: REVIEW, 4: NONE, 5: REVIEW, 8: REVIEW, None: REVIEW},
    "Default": {0: NONE, 1: MATCH, 2: REVIEW, 3: REVIEW, 4: NONE, 5: REVIEW, 6: REVIEW},
    **{
        profile: dict.fromkeys((0, 1, 2, 3, 4, 5, 255, None), REVIEW)
        for profile in ("UK", "Canada", "CUSTOM", "UNKNOWN", "")
    },
}


@pytest.fixture(scope="module")
def vics_lists(tmp_path_factory):
    """One list for each profile, and what each of their records is to decide."""
    folder = tmp_path_factory.mktemp("vics")
    data, expected, first = folder / "data", {}, 1
    for number, (profile, codes) in enumerate(VICS.items()):
        content = vics(profile, codes, first)
        bring(data, folder / f"{number}.json", content, "vics", f"l{number}")
        expected |= {first + at: (profile, code) for at, code in enumerate(codes)}
        first += len(codes)
    found = records(data, "lookup", *(f"sha1:{raw(SHA1, n).hex()}" for n in expected))
    return {expected[n]: answer for n, answer in zip(expected, found, strict=True)}


@pytest.mark.parametrize(
    ("profile", "code", "decision"),
    [(profile, code, each) for profile, codes in VICS.items() for code, each in codes.items()],
)
def test_a_vics_category_decides_by_its_profile(vics_lists, profile, code, decision):
    answer = vics_lists[profile, code]
    assert answer["decision"] == decision
    if decision == NONE:
        assert answer["matches"] == []
        assert "1 match of a class that decides nothing (in l" in answer["detail"]
        return
    (match,) = answer["matches"]
    said = None if code is None else {"scheme": "vics", "profile": profile, "code": str(code)}
    assert match["classification"] == said
    if decision == REVIEW and code not in (2, 3):
        assert match["severity"] == "unmapped"


def test_a_file_of_1_x_means_what_whoever_imports_it_says(tmp_path):
    data = tmp_path / "data"
    bring(data, tmp_path / "a.json", vics("", [1], 1), "vics", "a", "--option", "profile=US")
    (answer,) = records(data, "lookup", f"sha1:{raw(SHA1, 1).hex()}")
    assert answer["decision"] == MATCH


#: Per format: classes as its records have them, and what an equal strong digest then decides.
CLASSES = {
    "ncmec": {"A1": MATCH, "A2": MATCH, "B1": MATCH, "B2": MATCH, "C9": REVIEW, "": REVIEW},
    "icse": {"Yes": MATCH, "No": REVIEW, "": REVIEW},
    "misp": {"level-1": REVIEW, "level-10": REVIEW},
    "stix": {"a": REVIEW},
    "csv": {"anything": REVIEW, "": REVIEW},
    "jsonl": {"A": REVIEW},
    "parquet": {"A": REVIEW},
    "tat": {"islamist": REVIEW, "far-right": REVIEW},
    "threatexchange": {"MALICIOUS": REVIEW, "UNKNOWN": REVIEW},
    "threatexchange-text": {"": REVIEW},
    "stopncii": {"Active": REVIEW, "Received": REVIEW},
    "digests": {"": REVIEW},
    "encase": {"": REVIEW},
    "tsk": {"": REVIEW},
}
#: What a record carries so that it can be looked up as strongly as its format allows.
STRONGEST = {"stopncii": PDQ, "digests": MD5, "encase": MD5, "tat": SHA256}
STRONGEST |= dict.fromkeys(("threatexchange", "threatexchange-text"), SHA256)


@pytest.fixture(scope="module")
def all_lists(tmp_path_factory):
    """A list for each format that is not of known-good files, and what lookups answer."""
    folder = tmp_path_factory.mktemp("classes")
    data, expected = folder / "data", {}
    for number, (name, classes) in enumerate(CLASSES.items(), start=1):
        kind = STRONGEST.get(name, SHA1)
        made = []
        for at, word in enumerate(classes):
            seed = 100 * number + at
            hashes = {
                each: raw(each, seed).hex() for each in SAMPLES[name].kinds if each is not PDQ
            }
            made.append(Record(seed, {**hashes, kind: raw(kind, seed).hex()}, word))
            expected[f"{kind}:{raw(kind, seed).hex()}"] = (name, word)
        bring(
            data, folder / f"{number}{SAMPLES[name].suffix}", SAMPLES[name].make(made), name, name
        )
    found = records(data, "lookup", *expected)
    return dict(zip(expected.values(), found, strict=True))


def test_every_format_of_harm_is_among_them():
    harmful = {name for name in format_names() if not find_format(name).known_good}
    assert CLASSES.keys() | {"vics"} == harmful


@pytest.mark.parametrize(
    ("name", "word", "decision"),
    [(name, word, each) for name, classes in CLASSES.items() for word, each in classes.items()],
)
def test_a_class_that_no_row_names_means_review_and_never_silence(all_lists, name, word, decision):
    answer = all_lists[name, word]
    assert answer["decision"] == decision
    (match,) = answer["matches"]
    assert match["list"] == name
    if decision == REVIEW:
        assert match["severity"] == "unmapped"


@pytest.mark.parametrize("scheme", ["uk", "iwf"])
def test_british_categories_from_a_table(tmp_path, scheme):
    data = tmp_path / "data"
    codes = {
        "A": (MATCH, "severe"),
        "B": (MATCH, "abuse"),
        "c": (MATCH, "abuse"),
        "D": (REVIEW, "unmapped"),
    }
    made = [Record(n, {SHA1: raw(SHA1, n).hex()}, code) for n, code in enumerate(codes)]
    path = tmp_path / "a.csv"
    path.write_bytes(list_samples.csv_file(made))
    records(
        data, "lists", "import", path, "--list", "a", "--harm", "csam", "--source", "somebody",
        "--column", "sha1=sha1", "--column", "category=class", "--option", f"scheme={scheme}",
    )  # fmt: skip
    found = records(data, "lookup", *(f"sha1:{raw(SHA1, n).hex()}" for n in range(len(codes))))
    told = [(each["decision"], each["matches"][0]["severity"]) for each in found]
    assert told == list(codes.values())


@pytest.fixture(scope="module")
def disagreeing(tmp_path_factory):
    """A data folder with five lists of one and the same file."""
    folder = tmp_path_factory.mktemp("disagree")
    data, same = folder / "data", {kind: raw(kind, 1).hex() for kind in (MD5, SHA1)}
    for name, list_name, word in (
        ("vics", "police", "1"),
        ("ncmec", "industry", "B2"),
        ("icse", "exchange", "No"),
        ("vics", "other-unit", "0"),
        ("nsrl-csv", "nsrl", ""),
    ):
        content = SAMPLES[name].make([Record(1, same, word)])
        bring(data, folder / list_name, content, name, list_name)
    return data


class TestDisagreement:
    """One file in lists of several formats that say different things of it."""

    def test_each_list_keeps_what_it_says(self, disagreeing):
        for name in ("police", "industry", "exchange", "other-unit", "nsrl"):
            (shown,) = records(disagreeing, "lists", "show", name)
            assert shown["coverage"]["entries"] == 1

    def test_a_match_shows_all_that_count(self, disagreeing):
        (answer,) = records(disagreeing, "lookup", f"sha1:{raw(SHA1, 1).hex()}", "--details")
        assert answer["decision"] == MATCH
        told = {
            match["list"]: (match["classification"] or {}).get("code")
            for match in answer["matches"]
        }
        assert told == {"police": "1", "industry": "B2", "exchange": None}
        assert answer["total_matches"] == 3
        # That another list calls it harmless cancels nothing, and is told with the list's name.
        assert "1 match of a class that decides nothing (in other-unit)" in answer["detail"]
        assert "nsrl" not in answer["detail"]

    def test_a_list_that_calls_it_harmless_is_shown_beside_them(self, disagreeing):
        query = f"sha1:{raw(SHA1, 1).hex()}"
        (answer,) = records(disagreeing, "lookup", query)
        (against,) = answer["ignored_matches"]
        assert (against["list"], against["severity"]) == ("other-unit", "not_abuse")
        assert against["classification"] == {"scheme": "vics", "profile": "US", "code": "0"}
        out, told, status = run(disagreeing, "lookup", query)
        names, line = out.splitlines()
        cells = dict(zip(names.split("\t"), line.split("\t"), strict=True))
        assert (status, cells["ignored_in"]) == (1, "other-unit")
        assert "another entry has a class that decides nothing (in other-unit)" in told

    async def test_callers_of_a_server_see_it_too(self, disagreeing):
        free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
        config = load_settings(disagreeing, environ={}, overrides=free)
        async with running(config) as server, AsyncClient(server.address) as client:
            await server.ready
            (answer,) = await client.lookup_hashes([HashQuery({SHA1: raw(SHA1, 1)})])
        (against,) = answer.result.ignored
        assert (against.list_name, against.severity) == ("other-unit", "not_abuse")
        assert len(answer.result.matches) == 3
        assert "decides nothing, too (in other-unit)" in answer.result.detail

    def test_the_entries_can_be_looked_at(self, disagreeing):
        (answer,) = records(disagreeing, "lookup", f"sha1:{raw(SHA1, 1).hex()}")
        for match in answer["matches"]:
            (entry,) = records(disagreeing, "lists", "entry", match["entry"])
            assert entry["list"] == match["list"]
            assert entry["classification"] == match["classification"]

    def test_a_retraction_by_one_leaves_the_others(self, disagreeing):
        (answer,) = records(disagreeing, "lookup", f"sha1:{raw(SHA1, 1).hex()}")
        police = next(each["entry"] for each in answer["matches"] if each["list"] == "police")
        acts = ("lists", "retract", "police", police, "--reason", "a trial")
        assert run(disagreeing, *acts)[2] == 0
        (answer,) = records(disagreeing, "lookup", f"sha1:{raw(SHA1, 1).hex()}")
        assert {each["list"] for each in answer["matches"]} == {"industry", "exchange"}
        assert answer["decision"] == MATCH


def test_lists_of_other_harm_stay_apart(tmp_path):
    """Pages about adults and about terrorism cannot go into a list of child abuse."""
    for name in ("stopncii", "tat", "nsrl-csv"):
        path = tmp_path / f"{name}.file"
        path.write_bytes(SAMPLES[name].file())
        _, told, status = run(
            tmp_path / "data", "lists", "import", path, "--format", name, "--list", "abuse",
            "--harm", Harm.CSAM, "--source", "somebody",
        )  # fmt: skip
        assert status == 2
        assert "they are kept apart" in told
