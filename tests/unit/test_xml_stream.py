"""What the XML stream refuses, where it says so, and what it may cost."""

from __future__ import annotations

import io
import re
import tracemalloc

import pytest

from hashlists.errors import FormatError
from hashlists.formats.xml_parser import Element, GuardedParser, Layout
from hashlists.formats.xml_stream import Shape, XmlRecordStream
from hashlists.limits import ImportLimits

SMALL = ImportLimits(block_bytes=64, max_record_bytes=500, max_member_bytes=200, max_names=30)


def text_of(element: Element, _row, _place):
    item = element.find("v")
    return (element.name, item.text if item is not None else None)


LAYOUT = Layout("urn:demo", "root", frozenset({"items"}), frozenset({"aside"}))
NEVER = re.compile(r"(?!)")
SHAPE = Shape(LAYOUT, ("item",), text_of, NEVER)


def document(inner="", *, before="", after="", rest=""):
    return f'{before}<root xmlns="urn:demo"><items>{inner}</items>{rest}</root>{after}'.encode()


def read(data, limits=SMALL, shape=SHAPE):
    stream = XmlRecordStream(io.BytesIO(data), shape, limits)
    stream.open_root()
    rows, rejections = [], []
    for chunk in stream.chunks():
        for at, row in enumerate(chunk.records):
            place = chunk.place_at(at)
            assert data[place.offset :].startswith(b"<item")
            rows.append((place.number, row))
        rejections += chunk.rejections
    assert stream.bytes_read == len(data)
    return stream, rows, rejections


BILLION_LAUGHS = (
    '<!DOCTYPE root [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


@pytest.mark.parametrize(
    "before",
    [
        BILLION_LAUGHS,
        '<!DOCTYPE root SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE root PUBLIC "-//X//Y" "http://example.invalid/x.dtd">',
        '<!DOCTYPE root [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE root [<!ENTITY % p SYSTEM "http://example.invalid/x">%p;]>',
        "<!DOCTYPE root>",
        '<?xml version="1.0" standalone="no"?>\n<!-- x -->' + BILLION_LAUGHS,
    ],
)
def test_a_document_type_is_refused_where_it_begins(before):
    with pytest.raises(FormatError, match=r"record 1 \(byte \d+\): .*document type"):
        read(document("<item><v>&c;</v></item>", before=before))


@pytest.mark.parametrize("entity", ["&x;", "&nbsp;", "&c;"])
def test_entities_that_nobody_defined(entity):
    with pytest.raises(FormatError, match="an entity that is not one of XML's own"):
        read(document(f"<item><v>{entity}</v></item>"))


def test_entities_of_xml_itself_and_characters_by_number():
    _, rows, _ = read(document("<item><v>&amp;&lt;&#65;&#x20AC;<![CDATA[&x;]]></v></item>"))
    assert rows == [(1, ("item", "&<A€&x;"))]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "does not begin with <"),
        (b"plain text", "does not begin with <"),
        (b'{"value": []}', "is JSON, not XML"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"PK\x03\x04", "ZIP archive"),
        ("<root/>".encode("utf-16"), "UTF-16"),
        ("<root/>".encode("utf-16-le"), "UTF-16"),
        (b"<html><body>404</body></html>", "outermost element is not <root>"),
        (b'<root xmlns="urn:other"/>', "outermost element is not <root> of urn:demo"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><root/>', "save it as UTF-8"),
        (b'<?xml version="1.0" encoding="cp037"?><root/>', "save it as UTF-8"),
        (b'<?xml version="1.0" encoding="UTF-16"?><root/>', "save it as UTF-8"),
        (b"<root><items><item>\xff</item></items></root>", "not well-formed"),
        (document("<item><v>a</w></item>"), "mismatched tag"),
        (document('<item a="1" a="2"/>'), "duplicate attribute"),
        (document("<item>\x00</item>"), "not well-formed"),
        (document("<item><x:v/></item>"), "unbound prefix"),
        (document(after="<root/>"), "the file goes on"),
        (document(after="tail"), "the file goes on"),
        (document(rest="<aside/><aside/>"), "a second <aside>"),
    ],
)
def test_files_that_are_something_else(data, why):
    with pytest.raises(FormatError, match=why):
        read(data)


def test_a_cut_file_is_told_wherever_it_ends():
    whole = document(
        "<item><v>1</v></item><item/>", rest="<aside>x</aside>", before="<?xml version='1.0'?>"
    )
    read(whole)
    for size in range(1, len(whole)):
        with pytest.raises(FormatError):
            read(whole[:size])
    with pytest.raises(FormatError, match=r"record 2 \(byte .*cut off"):
        read(whole[: whole.index(b"<item/>") + 3])


def test_a_mark_before_the_document_whatever_the_block():
    data = b"\xef\xbb\xbf" + document("<item/>")
    for block_bytes in (1, 2, 3, 1000):
        assert len(read(data, ImportLimits(block_bytes=block_bytes))[1]) == 1


def test_white_space_and_comments_may_follow():
    read(document(after="\n<!-- end -->\n"))


def test_deep_nesting_is_refused():
    deep = "<a>" * 40 + "</a>" * 40
    with pytest.raises(FormatError, match="nest more than 32 deep"):
        read(document(f"<item>{deep}</item>"))
    with pytest.raises(FormatError, match="nest more than 32 deep"):
        read(document(rest=f"<unknown>{deep}</unknown>"))


def test_too_many_names_are_refused():
    names = "".join(f"<a{number}/>" for number in range(40))
    attributes = "".join(f'<a b{number}="x"/>' for number in range(40))
    spaces = "".join(f'<a xmlns:n{number}="urn:{number}"/>' for number in range(40))
    for inner in (names, attributes, spaces):
        with pytest.raises(FormatError, match="more than 30 different names"):
            read(document(f"<item>{inner}</item>", rest=inner))


def test_a_record_that_is_too_long_is_rejected_alone():
    for inner in ("x" * 600, "<v>x</v>" * 99, "<v>" + "x" * 5000 + "</v>"):
        data = document(f"<item/><item>{inner}</item><item><v>1</v></item>")
        for block_bytes in (1, 64, 100_000):
            limits = ImportLimits(block_bytes=block_bytes, max_record_bytes=500)
            _, rows, rejections = read(data, limits)
            assert rows == [(1, ("item", None)), (3, ("item", "1"))]
            (rejection,) = rejections
            assert rejection.reason == "the record is longer than 500 bytes"
            assert rejection.place.number == 2
            assert data[rejection.place.offset :].startswith(b"<item>")


def test_a_record_of_too_many_elements_is_rejected_alone():
    limits = ImportLimits(max_batch_objects=20)
    inner = "<v>x</v>" * 20
    data = document(f"<item/><item>{inner}</item><item><v>1</v></item>", rest="<aside><b/></aside>")
    _, rows, rejections = read(data, limits)
    assert rows == [(1, ("item", None)), (3, ("item", "1"))]
    assert [each.reason for each in rejections] == ["the record has more than 20 elements"]
    with pytest.raises(FormatError, match="beside the records has more than 20 elements"):
        read(document(rest=f"<aside>{inner}</aside>"), limits)


def test_elements_beside_the_records_that_are_too_long():
    with pytest.raises(FormatError, match="beside the records is longer than 200 bytes"):
        read(document(rest=f"<aside>{'x' * 300}</aside>"))
    with pytest.raises(FormatError, match="beside the records is longer than 200 bytes"):
        read(document(rest=f"<aside>{'<v>x</v>' * 50}</aside>"))


@pytest.mark.parametrize(
    "token", ["<!--{}-->", '<item a="{}"/>', "<{}/>", "<?x {}?>", "<item {}"]
)  # fmt: skip
def test_tags_and_comments_that_are_too_long(token):
    with pytest.raises(FormatError, match="a tag or comment exceeds 500 bytes"):
        read(document(token.format("x" * 5000)))


@pytest.mark.parametrize("text", ["</item>", ">", "<!-- x", "--"])
@pytest.mark.parametrize("before", [True, False])
def test_what_looks_like_an_end_costs_little(text, before, monkeypatch):
    """Each piece that is fed makes expat begin anew with the comment that it stands in."""
    fed = []
    feed = GuardedParser.feed

    def count(parser, data):
        fed.append(len(data))
        feed(parser, data)

    monkeypatch.setattr(GuardedParser, "feed", count)
    comment = f"<!--{text.replace('--', '- ') * 10_000}-->"
    inner = f"<item/>{'' if before else comment}<item><v>1</v></item>"
    data = document(inner, before=comment if before else "")
    _, rows, _ = read(data, ImportLimits(block_bytes=10_000))
    assert len(rows) == 2
    assert len(fed) < len(data) / 10_000 * 2 + 4


def test_memory_does_not_grow_with_the_file_whatever_it_holds():
    def measure(data):
        limits = ImportLimits(block_bytes=4096, max_record_bytes=10_000, max_batch_objects=100)
        stream = XmlRecordStream(io.BytesIO(data), SHAPE, limits)
        stream.open_root()
        tracemalloc.start()
        for _ in stream.chunks():
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small = measure(document("<item><v>1</v></item>\n" * 1_000))
    for inner in (
        "<item><v>1</v></item>\n" * 5_000,
        "<item><v>" + "x" * 200_000 + "</v></item>",
        "<item>" + "<v>1</v>" * 20_000 + "</item>",
        "text beside the records " * 5_000,
        "<!-- comment -->" * 10_000,
    ):
        assert measure(document(inner)) < small + 60_000
    assert measure(document(rest="<unknown>" + "<v>1</v>" * 20_000 + "</unknown>")) < small + 60_000


def test_records_are_numbered_over_containers_and_rejections():
    data = document("<item/><item/>", rest="<other/><items><item><v>3</v></item></items>")
    stream, rows, _ = read(data)
    assert [number for number, _ in rows] == [1, 2, 3]
    assert [(each.name, each.records) for each in stream.containers] == [("items", 2), ("items", 1)]
    assert dict(stream.notes) == {"element of unknown meaning left aside: other": 1}


def test_an_aside_is_kept_whole():
    stream, _, _ = read(document(rest='<aside a="1"><b>x</b><b>y</b>tail</aside>'))
    aside = stream.asides["aside"]
    assert aside.attributes == {"a": "1"}
    assert [child.text for child in aside.find_all("b")] == ["x", "y"]
    assert aside.find("c") is None
