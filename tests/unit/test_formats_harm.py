"""Known-good files and lists of abuse stay apart."""

from __future__ import annotations

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import HarmMismatchError
from hashlists.formats.base import Format
from hashlists.formats.harm import require_harm
from hashlists.formats.registry import FORMATS
from hashlists.importer import import_file
from hashlists.model import Harm, HashList
from tests.known_files_support import md5, sha1

GOOD = Format("good", "Good", known_good=True)
NCII = Format("ncii", "NCII", harm=Harm.NCII)
PLAIN = Format("plain", "Plain")


@pytest.mark.parametrize("harm", [each for each in Harm if each is not Harm.KNOWN_GOOD])
def test_known_good_files_go_into_no_other_list(harm):
    with pytest.raises(HarmMismatchError, match="--harm known_good") as caught:
        require_harm(GOOD, "abuse", harm)
    assert "'abuse'" in str(caught.value)
    assert caught.value.reason == "LIST_HARM_MISMATCH"


@pytest.mark.parametrize("harm", [Harm.CSAM, Harm.TERRORISM, Harm.KNOWN_GOOD])
def test_a_format_that_names_its_harm_goes_into_no_other_list(harm):
    with pytest.raises(HarmMismatchError, match="kept apart"):
        require_harm(NCII, "other", harm)


@pytest.mark.parametrize(
    ("found", "harm"),
    [(GOOD, Harm.KNOWN_GOOD), (NCII, Harm.NCII), (NCII, Harm.TEST)]
    + [(PLAIN, harm) for harm in Harm],
)
def test_what_fits_is_let_through(found, harm):
    require_harm(found, "list", harm)


def test_the_formats_of_known_good_files():
    good = {each.name for each in FORMATS.values() if each.known_good}
    assert good == {"nsrl-csv", "nsrl-sqlite", "hashlookup"}
    assert all(FORMATS[name].harm is Harm.KNOWN_GOOD for name in good)


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
