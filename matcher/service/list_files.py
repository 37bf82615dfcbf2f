"""List files over gRPC, in and out: requests as orders, what their processes say as responses.

Nothing here runs anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hashlists.exporting.request import Compression, ExportRequest
from hashlists.model import Classification, HashKind
from matcher._proto.hashwarden.lists.v1 import lists_pb2 as pb
from matcher.errors import InvalidRequestError
from matcher.service import convert
from matcher.service.imports import ImportOrder, WholeList
from matcher.service.validation import MAX_TEXTS, check_line, check_text, check_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Classes of one export; the largest scheme has some dozens.
_MAX_CLASSES = 1000
_KINDS = {kind.value: kind for kind in HashKind}
_COMPRESSIONS = {
    pb.COMPRESSION_UNSPECIFIED: Compression.NONE,
    pb.COMPRESSION_GZIP: Compression.GZIP,
    pb.COMPRESSION_ZSTD: Compression.ZSTD,
}


def import_order(start: pb.ImportStart, *, author: str, max_rejected_share: float) -> ImportOrder:
    """What an import's first message says.

    Args:
        start: the message.
        author: who imports.
        max_rejected_share: where the message does not say.

    Raises:
        InvalidRequestError: a value is out of range.
    """
    given = start.max_rejected_share if start.HasField("max_rejected_share") else None
    return ImportOrder(
        list_name=convert.list_name(start.hash_list, field="start.hash_list"),
        format=check_text(start.format, field="start.format"),
        options=check_texts(start.format_options, field="start.format_options"),
        sha256=start.sha256,
        length=start.length,
        idempotency_key=check_text(start.idempotency_key, field="start.idempotency_key"),
        max_rejected_share=max_rejected_share if given is None else given,
        reason=check_text(start.reason, field="start.reason"),
        importer=author,
        validate_only=start.validate_only,
        whole_list=_whole_list(start) if start.HasField("whole_list") else None,
        force=start.force,
    )


def _whole_list(start: pb.ImportStart) -> WholeList:
    most = start.whole_list
    number = most.max_absent_entries if most.HasField("max_absent_entries") else None
    return WholeList(most.force, number)


def import_response(message: Any) -> pb.ImportHashListResponse:
    """What the import's child process says."""
    if "progress" in message:
        progress = message["progress"]
        return pb.ImportHashListResponse(
            progress=pb.ImportProgress(
                bytes_read=progress["bytes_read"], records_read=progress["records_read"]
            )
        )
    return pb.ImportHashListResponse(report=_import_report(message["report"]))


def _import_report(report: Any) -> pb.ImportReport:
    counts = (
        *("revision", "read", "added", "updated", "retracted", "unchanged", "rejected"),
        *("kept_retracted", "absent"),
    )
    coverage = report["coverage"]
    return pb.ImportReport(
        **{name: report[name] for name in counts},
        seconds=report["seconds"],
        coverage=pb.Coverage(
            entries=coverage["entries"],
            entries_by_kind=coverage["by_kind"],
            near_matchable_entries=coverage["near_matchable"],
        ),
        rejections=[pb.Rejection(**each) for each in report["rejections"]],
        repeated_import=report["repeated"],
        notes=report["notes"],
    )


def export_request(message: pb.ExportHashListRequest) -> ExportRequest:
    """What is to go out, and to whom: at least one recipient is named.

    Raises:
        InvalidRequestError: a value is missing or out of range.
        OptionsError: the revisions are in no order.
    """
    return ExportRequest(
        list_names=_list_names(message.hash_lists),
        format=check_line(message.format, field="format"),
        recipients=_lines(message.recipients, field="recipients", required=True),
        options=check_texts(message.format_options, field="format_options"),
        since=message.since_revision,
        upto=message.upto_revision if message.HasField("upto_revision") else None,
        classifications=_classifications(message),
        kinds=list(_kinds(message.kinds)) or None,
        derived=message.derived,
        compression=_compression(message.compression),
        encrypt_to=_lines(message.encryption_keys, field="encryption_keys"),
    )


def _list_names(resources: Sequence[str]) -> list[str]:
    lines = _lines(resources, field="hash_lists", required=True)
    return [convert.list_name(each, field="hash_lists") for each in lines]


def _lines(texts: Sequence[str], *, field: str, required: bool = False) -> list[str]:
    """Names or keys, each on one line and none of them empty."""
    if required and not texts:
        raise InvalidRequestError("is required: name at least one", field=field)
    if len(texts) > MAX_TEXTS:
        raise InvalidRequestError(f"holds more than {MAX_TEXTS} entries", field=field)
    for place, text in enumerate(texts):
        if not check_line(text, field=f"{field}[{place}]").strip():
            raise InvalidRequestError("is empty", field=f"{field}[{place}]")
    return list(texts)


def _classifications(message: pb.ExportHashListRequest) -> list[Classification | None] | None:
    if len(message.classifications) > _MAX_CLASSES:
        raise InvalidRequestError(
            f"holds more than {_MAX_CLASSES} entries", field="classifications"
        )
    found: list[Classification | None] = []
    for place, each in enumerate(message.classifications):
        parts = (each.scheme, each.profile, each.code)
        field = f"classifications[{place}]"
        if not (each.scheme and each.code):
            raise InvalidRequestError("has a scheme and a code", field=field)
        found.append(Classification(*(check_line(part, field=field) for part in parts)))
    if message.unclassified:
        found.append(None)
    return found or None


def _kinds(names: Sequence[str]) -> Iterator[HashKind]:
    for place, name in enumerate(dict.fromkeys(names)):
        if name not in _KINDS:
            raise InvalidRequestError("is no kind of hash", field=f"kinds[{place}]")
        yield _KINDS[name]


def _compression(number: pb.Compression.ValueType) -> Compression:
    found = _COMPRESSIONS.get(number)
    if found is None:
        raise InvalidRequestError("is none that this server knows", field="compression")
    return found


def export_response(content: bytes | Any) -> pb.ExportHashListResponse:
    """A piece of the file, or the report of the export's child process."""
    if isinstance(content, bytes):
        return pb.ExportHashListResponse(chunk=content)
    return pb.ExportHashListResponse(report=_export_report(content))


def _export_report(report: Any) -> pb.ExportReport:
    same = ("revision", "entries", "retracted", "left_out", "untold", "purged", "losses")
    held_back = report["held_back"]
    return pb.ExportReport(
        **{name: report[name] for name in (*same, "media_type", "seconds", "warnings")},
        held_back=pb.HeldBack(
            unreleasable=held_back["unreleasable"],
            unreleasable_by_recipient=held_back["by_recipient"],
            expired=held_back["expired"],
        ),
        length=report["bytes"],
        sha256=bytes.fromhex(report["sha256"]),
        file_ending=report["ending"],
    )
