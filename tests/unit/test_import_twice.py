"""Through the catalog, for every format: a file again, its records twice, and two that disagree."""

from __future__ import annotations

import gzip

import pytest

from hashlists.catalog import Catalog
from hashlists.formats.registry import format_names
from hashlists.importer import import_files
from hashlists.model import HashList
from tests.catalog_support import in_force
from tests.list_samples import SAMPLES, raw

FORMATS = sorted(SAMPLES)
CONFLICTING = [name for name in FORMATS if SAMPLES[name].conflict is not None]


def test_no_format_is_left_out():
    assert set(FORMATS) == set(format_names())
    # Where a record holds its key and nothing else, two of one key are always equal.
    assert set(FORMATS) - set(CONFLICTING) == {"digests", "encase", "threatexchange-text"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """One for all formats: each has a list of its own."""
    folder = tmp_path_factory.mktemp("catalog")
    with Catalog.open(f"sqlite:///{folder}/catalog.db") as opened:
        yield opened


@pytest.fixture
def bring(catalog, tmp_path, request):
    """Imports a file of a format into the test's own list."""
    name = request.node.callspec.params["name"]
    sample = SAMPLES[name]
    list_name = f"{name}-{request.function.__name__[5:30]}".replace("_", "-").rstrip("-")
    catalog.create_list(HashList(list_name, sample.harm, "a source"), author="a person")

    def bringing(*files, **more):
        paths = []
        for number, data in enumerate(files):
            paths.append(tmp_path / f"{number}{sample.suffix}")
            paths[-1].write_bytes(data)
        options = {"format": name, "options": sample.options, "importer": "an importer", **more}
        return import_files(catalog, paths, list_name=list_name, **options)

    return bringing


def counts(report):
    return (report.added, report.updated, report.unchanged, report.retracted, report.rejected)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_file_again_changes_nothing_and_says_so(catalog, bring, name):
    sample = SAMPLES[name]
    first = bring(sample.file(5))
    assert counts(first) == (5, 0, 0, 0, 0)
    head, held = catalog.head(), in_force(catalog)
    for data in (sample.file(5), gzip.compress(sample.file(5))):
        again = bring(data)
        assert counts(again) == (0, 0, 5, 0, 0)
        assert again.revision == 0
        assert again.coverage == first.coverage
    # Another order of the records says nothing new either.
    assert counts(bring(sample.make(sample.records(5)[::-1]))) == (0, 0, 5, 0, 0)
    assert catalog.head() == head
    assert in_force(catalog) == held


@pytest.mark.parametrize("name", FORMATS)
def test_a_record_twice_is_one_entry(catalog, bring, name):
    sample = SAMPLES[name]
    before = len(in_force(catalog))
    one, two = sample.records(2)
    report = bring(sample.make([one, two, one, two, one]))
    assert (report.added, report.updated, report.rejected) == (2, 0, 0)
    assert len(in_force(catalog)) == before + 2


@pytest.mark.parametrize("name", CONFLICTING)
def test_two_records_of_one_key_that_disagree(catalog, bring, name):
    """The first counts, the other is told with its place; what it holds is nowhere."""
    sample = SAMPLES[name]
    records = [*sample.records(3), sample.contradicting(2)]
    before = in_force(catalog)
    report = bring(sample.make(records), max_rejected_share=0.5)
    assert (report.read, report.added, report.updated) == (4, 3, 0)
    assert report.rejected == 1
    (rejection,) = report.rejections
    assert rejection.place.number > 3
    assert "the same key and other content; keep one of them" in rejection.reason
    values = {bytes.fromhex(text) for each in records[:3] for text in each.hashes.values()}
    new = {entry: found for entry, found in in_force(catalog).items() if entry not in before}
    assert {value for found in new.values() for _, value in found} == values


@pytest.mark.parametrize("name", CONFLICTING)
def test_two_files_of_a_set_that_disagree(bring, name):
    """The place names the file."""
    sample = SAMPLES[name]
    report = bring(sample.file(3), sample.make([sample.contradicting(2)]), max_rejected_share=0.5)
    assert (report.added, report.rejected) == (3, 1)
    assert report.rejections[0].place.part.startswith("1")


@pytest.mark.parametrize("name", CONFLICTING)
def test_a_later_file_changes_what_an_earlier_one_said(bring, name):
    sample = SAMPLES[name]
    assert counts(bring(sample.file(3))) == (3, 0, 0, 0, 0)
    assert counts(bring(sample.make([sample.contradicting(2)]))) == (0, 1, 0, 0, 0)
    assert counts(bring(sample.make([sample.contradicting(2)]))) == (0, 0, 1, 0, 0)


def test_values_of_the_samples_differ():
    """Else nothing above would show anything."""
    kinds = {kind for sample in SAMPLES.values() for kind in sample.kinds}
    values = [raw(kind, number) for kind in kinds for number in range(1, 10)]
    assert len(set(values)) == len(values)
