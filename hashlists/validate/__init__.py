"""Turns batches of raw columns into entries, retractions and rejections.

Pure: no file, no clock, no state. `batch` has the order of the checks; one module a kind of column.

A column is decoded as a whole; only where that fails is it taken value by value, to name the rows
at fault. The result is the same either way.

One bad field rejects its record as a whole, with one `Rejection` that names the field. The good
hashes of such a record are not imported on their own: a record that breaks its own format cannot
be trusted to join the right hash with the right class, and half a record would look complete ever
after. What is rejected is always reported, never lost silently. A record that withdraws an entry
is rejected only where it names none.

Rejected: values of wrong length or alphabet, digests of the empty file, digests and codes with all
bits equal, PDQ codes that tell nothing, records without any hash or key, ids and codes that are too
long or hold control characters, sizes that are no number or negative.
"""

from hashlists.validate.batch import Validated, validate
from hashlists.validate.hashes import WOULD_MATCH_ANYTHING, why_degenerate
from hashlists.validate.keys import KEY_TAGS, TEXT_KEY_TAG

__all__ = [
    "KEY_TAGS",
    "TEXT_KEY_TAG",
    "WOULD_MATCH_ANYTHING",
    "Validated",
    "validate",
    "why_degenerate",
]
