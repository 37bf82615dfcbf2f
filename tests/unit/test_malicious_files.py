"""What a publisher of known-good files calls malicious leaves the list that had it."""

from __future__ import annotations

import json

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import WithdrawalsRefusedError
from hashlists.model import Harm, HashList
from tests.import_support import importing
from tests.known_files_support import md5, sha1

NAMES = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'
NOTE = "record of a known malicious file left aside"
SOME = range(10)


def nsrl(good, bad=()):
    lines = [(seed, "") for seed in good] + [(seed, "M") for seed in bad]
    return NAMES + "".join(
        f'"{sha1(seed)}","{md5(seed)}","00000000","a.exe",10,1,"1","{code}"\n'
        for seed, code in lines
    )


def hashlookup(good, bad=()):
    records = [{"SHA-1": sha1(seed), "FileSize": 10, "FileName": "a.exe"} for seed in good]
    records += [{"SHA-1": sha1(seed), "KnownMalicious": "a"} for seed in bad]
    return "".join(json.dumps(each) + "\n" for each in records)


@pytest.fixture
def taker(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(HashList("good", Harm.KNOWN_GOOD, "a source"), author="a person")
        yield catalog


@pytest.fixture
def give(taker, tmp_path):
    return importing(taker, tmp_path, "good")


@pytest.mark.parametrize(("fmt", "make"), [("nsrl-csv", nsrl), ("hashlookup", hashlookup)])
def test_what_is_called_malicious_later_is_withdrawn(taker, give, fmt, make):
    report = give(make(SOME, bad=[77]), fmt)
    assert (report.added, report.rejected, report.notes) == (10, 0, {NOTE: 1})
    report = give(make([1], bad=[2, 77]), fmt)
    assert (report.retracted, report.rejected, report.notes[NOTE]) == (1, 0, 2)
    assert taker.get_list("good").coverage.entries == 9
    assert give(make([2]), fmt).updated == 1


@pytest.mark.parametrize(("fmt", "make"), [("nsrl-csv", nsrl), ("hashlookup", hashlookup)])
def test_what_one_file_calls_both_stays_and_is_told(taker, give, fmt, make):
    report = give(make(SOME, bad=[2]), fmt, max_rejected_share=0.5)
    assert (report.added, report.rejected) == (10, 1)
    assert "both lists and retracts" in report.rejections[0].reason
    assert taker.get_list("good").coverage.entries == 10


def test_a_file_that_calls_most_of_it_malicious_is_refused(taker, give):
    give(nsrl(SOME), "nsrl-csv")
    with pytest.raises(WithdrawalsRefusedError, match="--force"):
        give(nsrl([], bad=SOME), "nsrl-csv")
    assert taker.get_list("good").coverage.entries == 10
