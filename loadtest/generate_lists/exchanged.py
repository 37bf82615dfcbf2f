"""Lists as units, hotlines and platforms exchange them, each laid out as its sources do."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from hashlists.formats.icse_columns import COLUMNS
from loadtest.generate_lists.texts import Text

if TYPE_CHECKING:
    from loadtest.generate_lists.records import Record

_CATEGORIES = (1, 1, 2, 2, 3, 0, 5)
_BOOLEANS = ("false", "true")
_YES_NO = ("N", "Y")
_NCMEC_CLASSES = ("A1", "A2", "B1", "B2")
_MEMBERS = 100
_FEEDBACK_EVERY = 10  # the reader takes entries that have feedback more slowly
_FEEDBACK = """
            <feedback lastUpdateTimestamp="2023-06-01T12:48:14Z">
                <affirmativeFeedback type="Md5" lastUpdateTimestamp="2023-06-01T12:48:14Z">
                    <members timestamp="2023-06-01T12:48:14Z">
                        <member id="7">Another Member</member>
                    </members>
                </affirmativeFeedback>
            </feedback>"""


def _vics(record: Record) -> str:
    number, md5, sha1, _, pdq, photodna, choice = record
    digest = md5.hex().upper()
    return (
        f'{{"MediaID":{number},"Category":{_CATEGORIES[choice % 7]},"MD5":"{digest}",'
        f'"SHA1":"{sha1.hex().upper()}","PhotoDNA":"{base64.b64encode(photodna).decode()}",'
        f'"AlternativeHashes":[{{"MD5":"{digest}","HashName":"PDQ","HashValue":"{pdq.hex()}"}}],'
        f'"MediaSize":{20_000 + 61 * choice},"MimeType":"image/jpeg",'
        f'"VictimIdentified":{_BOOLEANS[choice & 1]},'
        f'"OffenderIdentified":{_BOOLEANS[choice >> 1 & 1]},'
        f'"IsDistributed":{_BOOLEANS[choice >> 2 & 1]},"IsPrecategorized":true,'
        f'"SelfGenerated":null,"Series":null,"Comments":null,'
        f'"DateUpdated":"2023-06-07T02:{choice % 60:02}:49.8300Z"}}'
    )


def _icse(record: Record) -> str:
    number, md5, sha1, _, _, photodna, choice = record
    cells = {
        "MD5": md5.hex(),
        "SHA1": sha1.hex(),
        "PhotoDNA": photodna.hex().upper(),
        "Image ID": str(number),
        "Is distributed": _YES_NO[choice & 1],
        "Victim identified": _YES_NO[choice >> 1 & 1],
        "Offender identified": "N",
        "Number of submissions": str(choice % 9),
        "File Available": "True",
        "Media Type": "Image",
        "Baseline": ("No", "Yes")[choice >> 2 & 1],
    }
    return ";".join(cells.get(column, "") for column in COLUMNS)


def _ncmec(record: Record) -> str:
    number, md5, sha1, _, pdq, photodna, choice = record
    return f"""        <image>
            <member id="{10 + number % _MEMBERS}">Example Member</member>
            <timestamp>2023-06-07T02:{choice % 60:02}:49Z</timestamp>
            <id>image{number}</id>
            <classification>{_NCMEC_CLASSES[choice % len(_NCMEC_CLASSES)]}</classification>
            <fingerprints>
                <md5>{md5.hex()}</md5>
                <sha1>{sha1.hex()}</sha1>
                <pdna>{photodna.hex()}</pdna>
                <pdq>{pdq.hex()}</pdq>
            </fingerprints>{"" if number % _FEEDBACK_EVERY else _FEEDBACK}
        </image>
"""


def _threatexchange(record: Record) -> str:
    return (
        f'{{"id":"{record.number}","indicator":"{record.pdq.hex()}","type":"HASH_PDQ",'
        f'"creation_time":1595000000,"last_updated":{1_595_000_000 + record.choice},'
        f'"should_delete":false,"descriptors":{{"data":[{{"id":"{record.number}7",'
        f'"owner":{{"id":"1","name":"x"}},"status":"MALICIOUS",'
        f'"tags":{{"data":[{{"id":"1","text":"made-up"}}]}}}}]}}}}'
    )


def _stopncii(record: Record) -> str:
    return (
        f'{{"lastModtimestamp":{1_625_167_804 + record.number},"signalType":"ImagePDQ",'
        f'"hashValue":"{record.pdq.hex()}","hashStatus":"Active",'
        f'"caseNumbers":{{"27664732-76e1-4a17-8099-455798e67022":"Active"}},'
        '"hashRegions":["UK"],"CSPFeedbacks":[]}'
    )


def _tat(record: Record) -> str:
    if record.number % 2:
        name, digest = "PDQ", record.pdq
    else:
        name, digest = "MD5", record.md5
    return (
        f'{{"hash_digest":"{digest.hex()}","algorithm":"{name}","ideology":"made-up",'
        f'"file_type":"jpg","deleted":false,"updated_on":{1_704_085_200 + record.choice}.5,'
        f'"created_on":"2024-01-01","id":{record.number}}}'
    )


def _stix(record: Record) -> str:
    return (
        '{"type":"file","spec_version":"2.1",'
        f'"id":"file--{record.number:08x}-0000-4000-8000-000000000000",'
        f'"hashes":{{"MD5":"{record.md5.hex()}","SHA-1":"{record.sha1.hex()}",'
        f'"SHA-256":"{record.sha256.hex()}","PDQ":"{record.pdq.hex()}"}},'
        f'"size":{20_000 + record.choice},"mime_type":"image/jpeg"}}'
    )


def _misp(record: Record) -> str:
    attributes = (
        _attribute(record, at, kind, digest.hex())
        for at, (kind, digest) in enumerate(
            (("md5", record.md5), ("sha1", record.sha1), ("sha256", record.sha256)), 1
        )
    )
    return (
        f'{{"id":"{record.number}","name":"file","meta-category":"file","template_version":"24",'
        f'"uuid":"{record.number:08x}-0000-4000-8000-000000000000","timestamp":"1700000000",'
        f'"distribution":"5","deleted":false,"Attribute":[{",".join(attributes)}]}}'
    )


def _attribute(record: Record, at: int, kind: str, digest: str) -> str:
    return (
        f'{{"id":"{record.number}{at}","type":"{kind}","object_relation":"{kind}",'
        f'"category":"Payload delivery","to_ids":true,"deleted":false,"distribution":"5",'
        f'"uuid":"{record.number:08x}-000{at}-4000-8000-000000000000","timestamp":"1700000000",'
        f'"comment":"","value":"{digest}"}}'
    )


VICS = Text(
    head='{"@odata.context":"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/'
    '$metadata#Media","value":[\n',
    record=_vics,
    between=",\n",
    tail="\n]}\n",
)
ICSE = Text(head=f"{';'.join(COLUMNS)}\r\n", record=_icse, between="\r\n", tail="\r\n")
NCMEC = Text(
    head='<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">\n'
    '    <images count="%d" maxTimestamp="2023-06-07T02:59:49Z">\n',
    record=_ncmec,
    between="",
    tail="    </images>\n</queryResult>\n",
)
THREATEXCHANGE = Text('{"data":[', _threatexchange, ",", '],"paging":{"cursors":{}}}')
STOPNCII = Text(
    '{"count":%d,"hasMoreRecords":false,"hashRecords":[', _stopncii, ",", '],"nextPageToken":null}'
)
TAT = Text('{"count":%d,"next":null,"results":[', _tat, ",", "]}")
STIX = Text(
    '{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000000","objects":[',
    _stix,
    ",\n",
    "]}",
)
MISP = Text(
    head='{"Event":{"id":"1","uuid":"ffffffff-0000-4000-8000-000000000000","info":"made up",'
    '"date":"2026-01-01","distribution":"3","Orgc":{"name":"nobody"},"Attribute":[],"Object":[',
    record=_misp,
    between=",\n",
    tail='],"Tag":[{"name":"copine-scale:level-5"}]}}',
)
