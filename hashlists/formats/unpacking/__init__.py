"""Opens list files as they come: plain, packed with gzip or Zstandard, or several in a ZIP archive.

Each of them may be encrypted with age, for whoever brings the private key.

Nothing is ever extracted to a path, so what an archive calls its members cannot reach anything.
What unpacks to more than the limits allow, is cut off, damaged, encrypted, or holds a further
archive is refused as a whole. What the unpacked bytes mean, the readers say.
"""

from __future__ import annotations

from hashlists.formats.unpacking.descriptors import descriptor_of, named
from hashlists.formats.unpacking.parts import Part, Parts, open_parts

__all__ = ["Part", "Parts", "descriptor_of", "named", "open_parts"]
