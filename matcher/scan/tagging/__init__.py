"""Marks what was found where it lies, for who asked for that: the only writing to what is scanned.

- `model`: what is to be tagged, and what came of it.
- `attributes`: files, by extended attributes.
- `objects`: objects of S3, by object tags.

Invariants:

* No content is read, changed, moved or deleted, and tags that others have set stay.
* What has changed since it was scanned is not tagged: it may be another picture.
* No link is followed.
"""
