"""Known-good files and lists of abuse stay apart."""

from __future__ import annotations

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import HarmMismatchError, OptionsError
from hashlists.formats.base import Format
from hashlists.formats.harm import require_harm, require_told_harms
from hashlists.formats.registry import FORMATS
from hashlists.importer import import_file
from hashlists.inspection import inspect_file
from hashlists.model import Harm, HashList
from loadtest.generate_lists import write_list
from tests.known_files_support import md5, sha1

GOOD = Format("good", "Good", known_good=True)
NCII = Format("ncii", "NCII", harm=Harm.NCII)
PLAIN = Format("plain", "Plain")
EITHER = Format("either", "Either", may_be_known_good=True)


@pytest.mark.parametrize("harm", [each for each in Harm if each is not Harm.KNOWN_GOOD])
def test_known_good_files_go_into_no_other_list(harm):
    with pytest.raises(HarmMismatchError, match="--harm known_good") as caught:
        require_harm(GOOD, "abuse", harm)
    assert "'abuse'" in str(caught.value)
    assert caught.value.reason == "LIST_HARM_MISMATCH"


@pytest.mark.parametrize("harm", [Harm.CSAM, Harm.TERRORISM, Harm.KNOWN_GOOD])
def test_a_format_that_names_its_harm_goes_into_no_other_list(harm):
    with pytest.raises(HarmMismatchError, match=f"'other' is of harm {harm}; they are kept apart"):
        require_harm(NCII, "other", harm)
    with pytest.raises(HarmMismatchError, match=r"Import into another list; --harm ncii and --so"):
        require_harm(NCII, "other", harm)
    advice = f"'other' would be of harm {harm}; they are kept apart. Say --harm ncii"
    with pytest.raises(HarmMismatchError, match=advice):
        require_harm(NCII, "other", harm, planned=True)
    with pytest.raises(HarmMismatchError, match=advice):
        require_told_harms(["ncii"], "other", harm, planned=True)


def test_what_may_be_either_is_abuse_unless_it_is_said_to_be_known_good():
    with pytest.raises(HarmMismatchError, match="--option known_good=yes"):
        require_harm(EITHER, "good", Harm.KNOWN_GOOD)
    with pytest.raises(HarmMismatchError, match=r"'good' would be of .*; else say --harm csam, or"):
        require_harm(EITHER, "good", Harm.KNOWN_GOOD, planned=True)
    said = {"known_good": "yes"}
    require_harm(EITHER, "good", Harm.KNOWN_GOOD, said)
    for harm in set(Harm) - {Harm.KNOWN_GOOD}:
        with pytest.raises(HarmMismatchError, match="kept apart"):
            require_harm(EITHER, "abuse", harm, said)


@pytest.mark.parametrize(
    ("found", "harm"),
    [(GOOD, Harm.KNOWN_GOOD), (NCII, Harm.NCII), (NCII, Harm.TEST)]
    + [(PLAIN, harm) for harm in Harm]
    + [(EITHER, harm) for harm in Harm if harm is not Harm.KNOWN_GOOD],
)
def test_what_fits_is_let_through(found, harm):
    require_harm(found, "list", harm)


def test_the_formats_of_known_good_files():
    good = {each.name for each in FORMATS.values() if each.known_good}
    assert good == {"nsrl-csv", "nsrl-sqlite", "hashlookup"}
    assert all(FORMATS[name].harm is Harm.KNOWN_GOOD for name in good)


def test_what_the_formats_are_about():
    told = {each.name: each.harm for each in FORMATS.values() if each.harm and not each.known_good}
    assert told == {
        "icse": Harm.CSAM,
        "ncmec": Harm.CSAM,
        "stopncii": Harm.NCII,
        "tat": Harm.TERRORISM,
        "vics": Harm.CSAM,
    }
    assert [each.name for each in FORMATS.values() if each.may_be_known_good] == ["vics"]


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as opened:
        yield opened


@pytest.fixture
def nsrl(tmp_path):
    path = tmp_path / "NSRLFile.txt"
    path.write_text(f'"SHA-1","MD5","FileName"\n"{sha1()}","{md5()}","x"\n')
    return path


@pytest.mark.parametrize("made", ["before", "by the import"])
def test_nothing_is_imported_into_a_list_of_another_harm(catalog, nsrl, made):
    def make():
        catalog.create_list(HashList("abuse", Harm.CSAM, "us"), author="a person")

    if made == "before":
        make()
    more = {} if made == "before" else {"prepare_list": make}
    with pytest.raises(HarmMismatchError):
        import_file(
            catalog, nsrl, list_name="abuse", format="nsrl-csv", importer="a person", **more
        )
    assert catalog.get_list("abuse").coverage.entries == 0
    assert not catalog.was_filled("abuse")


def test_a_vics_file_is_known_good_only_where_that_is_said(catalog, tmp_path):
    file = tmp_path / "set.json"
    with file.open("wb") as out:
        write_list("vics", out, records=5)
    for name, harm in (("good", Harm.KNOWN_GOOD), ("abuse", Harm.CSAM)):
        catalog.create_list(HashList(name, harm, "us"), author="a person")
    said = {"known_good": "yes"}
    refused = {"good": {}, "abuse": said}
    for name, options in refused.items():
        how = {"list_name": name, "format": "vics", "importer": "a person"}
        with pytest.raises(HarmMismatchError):
            import_file(catalog, file, options=options, **how)
        good = said if name == "good" else {}
        assert import_file(catalog, file, options=good, **how).added == 5
    with pytest.raises(OptionsError, match="known_good"):
        import_file(catalog, file, options={"known_good": "maybe"}, **how)
    assert inspect_file(file).parts[0].reading.harm is Harm.CSAM
    assert inspect_file(file, options=said).parts[0].reading.harm is Harm.KNOWN_GOOD


@pytest.mark.parametrize("harm", [Harm.TERRORISM, Harm.NCII])
def test_a_vics_file_goes_into_no_list_of_another_harm(catalog, tmp_path, harm):
    file = tmp_path / "set.json"
    with file.open("wb") as out:
        write_list("vics", out, records=5)
    catalog.create_list(HashList("other", harm, "us"), author="a person")
    with pytest.raises(HarmMismatchError, match="vics holds entries of harm csam"):
        import_file(catalog, file, list_name="other", format="vics", importer="a person")


def test_what_fits_is_imported(catalog, nsrl):
    catalog.create_list(HashList("good", Harm.KNOWN_GOOD, "NIST"), author="a person")
    report = import_file(catalog, nsrl, list_name="good", format="nsrl-csv", importer="a person")
    assert report.added == 1


def test_a_trial_is_refused_as_the_import_would_be(catalog, nsrl):
    """Also where the list could be made or corrected, were it not there with entries already."""
    catalog.create_list(HashList("abuse", Harm.TEST, "us"), author="a person")
    how = {"list_name": "abuse", "importer": "a person"}
    csv = nsrl.with_name("list.csv")
    csv.write_text(f"md5\n{md5()}\n")
    import_file(catalog, csv, format="csv", options={"columns.md5": "md5"}, **how)
    with pytest.raises(HarmMismatchError):
        import_file(catalog, nsrl, format="nsrl-csv", dry_run=True, prepare_list=pytest.fail, **how)
