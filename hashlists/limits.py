"""Every limit of an import as a typed field with its unit.

The limits bound what one file may cost in memory and what one record may put into the catalog.
They are far above what real lists need; passing one is reported with its name, so that an operator
who meets a real case knows what to raise.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Characters of a source's own id or key, wherever one is given.
MAX_ID_CHARS = 256
#: Decimal digits of the catalog's own id of an entry, so that it fits 63 bits.
MAX_ENTRY_ID_DIGITS = 18
#: Characters that say how a hash was derived, as the catalog keeps them.
MAX_DERIVATION_CHARS = 32
_KIB = 1024
_MIB = 1024 * 1024
_GIB = 1024 * _MIB


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """Ceilings of one import.

    Attributes:
        block_bytes: bytes of a JSON file read and decoded at a time; about 700 VICS records, which
            make one batch. Characters of a CSV file that make one batch, unless rows do before.
            Larger blocks leave the processor's cache: reading 4 MiB at a time costs twice as much.
        max_record_bytes: bytes of one record; a longer one in a JSON file is rejected and skipped
            unread. Characters in a CSV file, which is refused then: its quotes cannot be trusted.
        max_member_bytes: bytes of one member beside the array of records in a JSON file.
        max_batch_objects: objects (records and what they nest) decoded at a time.
        max_batch_rows: lines of a CSV file, or records that had to be read singly, in one batch.
        max_line_chars: characters of one line of a CSV file.
        max_columns: columns of a CSV file.
        max_id_chars: characters of a source's own id or key.
        max_code_chars: characters of a classification's code.
        max_classifications: different classifications in one file. An issuer's scheme has some
            tens; far more of them are a wrong column taken for the category.
        max_text_chars: characters of a media type or time stamp.
        max_reason_chars: characters of a retraction's reason; what is longer is cut.
        max_extra_hashes: values of one record beyond the first of each kind.
        max_recipients: names to whom one entry may be released.
        max_references: identities, and marking definitions, of one file that are remembered by
            name; what refers to any further one is treated as if the file did not have it.
        max_versioned_objects: objects of one file that carry a version; 8 bytes of memory each.
        max_repeated_objects: objects of one file that stand in it more than once.
        max_unpacked_bytes: bytes that a compressed file may unpack to.
        max_unpacked_ratio: unpacked bytes for each packed one, once 64 MiB were unpacked.
        max_parts: files in an archive, or in a set of files that are imported as one.
        max_depth: how deep objects, arrays or elements may nest in a record.
        max_names: different names of elements and attributes in an XML file.
        max_size_bytes: largest file size that the catalog can hold.
        max_rejected_share: rejected records as a share of all; above it nothing is imported.
        max_reported_rejections: rejections that a report spells out; all are counted.
    """

    block_bytes: int = 512 * _KIB
    max_record_bytes: int = 4 * _MIB
    max_member_bytes: int = _MIB
    max_batch_objects: int = 65_536
    max_batch_rows: int = 1_024
    max_line_chars: int = 256 * _KIB
    max_columns: int = 1_000
    max_id_chars: int = MAX_ID_CHARS
    max_code_chars: int = 64
    max_classifications: int = 10_000
    max_text_chars: int = 128
    max_reason_chars: int = 2_000
    max_extra_hashes: int = 64
    max_recipients: int = 256
    max_references: int = 10_000
    max_versioned_objects: int = 16_000_000
    max_repeated_objects: int = 250_000
    max_unpacked_bytes: int = 1024 * _GIB
    max_unpacked_ratio: int = 200
    max_parts: int = 10_000
    max_depth: int = 32
    max_names: int = 1_000
    max_size_bytes: int = 2**63 - 1
    max_rejected_share: float = 0.05
    max_reported_rejections: int = 1_000


DEFAULT_LIMITS = ImportLimits()
