"""The image side of Hashwarden: bytes in, a decision out.

The flow of an upload reads from the file names:
`service -> decode.pool + hashing.digests -> pipeline (hashing -> index.holder -> policy)`.
"""

__version__ = "0.1.0"
