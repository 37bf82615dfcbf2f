"""What Hashwarden adds to STIX 2.1: an extension of `file` for what an entry says beyond digests.

STIX has standard names for cryptographic digests alone, and nothing for a class of abuse imagery.
The extension is published in docs/stix (its definition, its JSON schema and a page); the files
there are made of this module, and a test keeps them in step. Its id never changes; a later version
only adds properties. It is a `property-extension`, so a consumer that does not know it loses
nothing but what it says.

Holds constants and the schema alone; knows neither how bundles are read nor how they are written.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hashlists.model import EntryFlag, Harm, HashKind

EXTENSION_ID: Final = "extension-definition--4ccfc676-a115-4eda-89ed-1e42eedbd752"
#: Who defined the extension, and who made a bundle where nobody else is named.
HASHWARDEN_ID: Final = "identity--76fd0208-2324-4abb-8108-1c36a071aa8a"
#: Says that the extension of the marked object names the recipients.
HANDLING_MARKING_ID: Final = "marking-definition--8eef2c05-4c73-4ab7-97fe-1dca99598ce9"
#: When all three were published.
PUBLISHED: Final = "2026-11-22T00:00:00.000Z"
VERSION: Final = "1.0.0"

#: How the standard names the digests that a list may hold.
DIGEST_NAMES: Final = {
    HashKind.MD5: "MD5",
    HashKind.SHA1: "SHA-1",
    HashKind.SHA256: "SHA-256",
}
DIGEST_KINDS: Final = tuple(DIGEST_NAMES)
PERCEPTUAL_KINDS: Final = tuple(kind for kind in HashKind if not kind.is_digest)
FLAG_NAMES: Final = {flag: (flag.name or "").lower() for flag in EntryFlag}

_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 256}


def _hashes(algorithms: tuple[HashKind, ...], description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "minItems": 1,
        "description": description,
        "items": {
            "type": "object",
            "required": ["algorithm", "value"],
            "additionalProperties": False,
            "properties": {
                "algorithm": {"enum": [kind.value for kind in algorithms]},
                "value": {
                    "type": "string",
                    "minLength": 1,
                    "description": "PhotoDNA in base64 (144 bytes), all others in lower-case hex.",
                },
                "derivation": {
                    **_TEXT,
                    "description": (
                        "How the value was made from the same file, e.g. crop:0.02 for a picture"
                        " cut by 2 % at every side; absent for the file as it is."
                    ),
                },
            },
        },
    }


SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Known image: perceptual hashes and the facts of a hash list's entry",
    "description": (
        "The value under the extension's id in `extensions` of a file, an indicator or a note."
    ),
    "type": "object",
    "required": ["extension_type"],
    "oneOf": [
        {"required": ["entry_id"]},
        {"anyOf": [{"required": ["since"]}, {"required": ["sender", "upto"]}]},
    ],
    "dependentRequired": {"sender": ["upto"], "upto": ["sender"]},
    "additionalProperties": False,
    "properties": {
        "extension_type": {"const": "property-extension"},
        "entry_id": {
            **_TEXT,
            "description": (
                "Identity of the entry, as random as a UUID: no other producer may give it to"
                " another entry. It stays when hashes or facts change, unlike the object's own id;"
                " by it a later bundle updates or withdraws the entry."
            ),
        },
        "harm": {
            "enum": [harm.value for harm in Harm],
            "description": "The kind of harm that the list is about; known_good is of none.",
        },
        "perceptual_hashes": _hashes(
            PERCEPTUAL_KINDS,
            "All perceptual hashes; the first of an algorithm without derivation is the main one.",
        ),
        "further_digests": _hashes(
            DIGEST_KINDS, "Digests beyond the first of each algorithm, which stands in hashes."
        ),
        "classification": {
            "type": "object",
            "required": ["scheme", "profile", "code"],
            "additionalProperties": False,
            "description": "The class as its source issued it.",
            "properties": {
                "scheme": {"type": "string", "maxLength": 64},
                "profile": {"type": "string", "maxLength": 64},
                "code": {"type": "string", "minLength": 1, "maxLength": 64},
            },
        },
        "flags": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "description": "What the source says of the entry; what it does not say is absent.",
            "properties": {name: {"type": "boolean"} for name in FLAG_NAMES.values()},
        },
        "verified_count": {
            "type": "integer",
            "minimum": 0,
            "description": "How many reviewers verified the entry.",
        },
        "source_id": {**_TEXT, "description": "The source's own id."},
        "source_updated_at": {**_TEXT, "description": "The source's own time stamp, verbatim."},
        "originator": {**_TEXT, "description": "Who issued the entry."},
        "releasable_to": {
            "type": "array",
            "minItems": 1,
            "items": _TEXT,
            "description": "To whom the entry may be released; nobody where it is absent.",
        },
        "expires_at": {
            "type": "string",
            "format": "date-time",
            "description": "When the entry must no longer be used.",
        },
        "reason": {"type": "string", "description": "Why the entry was withdrawn."},
        "since": {
            "type": "integer",
            "minimum": 1,
            "description": (
                "On a note: the bundle holds what changed after this revision of its lists, and"
                " is no whole list."
            ),
        },
        "sender": {
            **_TEXT,
            "description": (
                "On a note: tells the producer's lists from all others, and shows nothing of them."
            ),
        },
        "upto": {
            "type": "integer",
            "minimum": 0,
            "description": "On a note: the revision of its lists that the bundle shows.",
        },
    },
}

HASHWARDEN: Final[dict[str, Any]] = {
    "type": "identity",
    "spec_version": "2.1",
    "id": HASHWARDEN_ID,
    "created": PUBLISHED,
    "modified": PUBLISHED,
    "name": "Hashwarden",
    "identity_class": "system",
}
DEFINITION: Final[dict[str, Any]] = {
    "type": "extension-definition",
    "spec_version": "2.1",
    "id": EXTENSION_ID,
    "created_by_ref": HASHWARDEN_ID,
    "created": PUBLISHED,
    "modified": PUBLISHED,
    "name": "Known image",
    "description": (
        "Perceptual hashes of an image, and what a hash list says of it: the class as issued,"
        " flags, and to whom it may be released."
    ),
    "schema": json.dumps(SCHEMA, separators=(",", ":")),
    "version": VERSION,
    "extension_types": ["property-extension"],
}
HANDLING_MARKING: Final[dict[str, Any]] = {
    "type": "marking-definition",
    "spec_version": "2.1",
    "id": HANDLING_MARKING_ID,
    "created_by_ref": HASHWARDEN_ID,
    "created": PUBLISHED,
    "name": "Named recipients only",
    "definition_type": "statement",
    "definition": {
        "statement": (
            "May be released only to the recipients that the extension of the object names in"
            " releasable_to, and to nobody where it names none."
        )
    },
}

__all__ = [
    "DEFINITION",
    "DIGEST_NAMES",
    "EXTENSION_ID",
    "FLAG_NAMES",
    "HANDLING_MARKING",
    "HANDLING_MARKING_ID",
    "HASHWARDEN",
    "HASHWARDEN_ID",
    "PERCEPTUAL_KINDS",
    "PUBLISHED",
    "SCHEMA",
]
