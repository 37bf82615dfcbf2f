"""Exchanges: feeds of hashes that are fetched over HTTP into a list, page by page.

- `http`: the one way out; `credentials`: what opens it. `retrying`: when to ask again.
- `base`: what a client is; `ncmec`, `stopncii`, `threatexchange`, `tat`: how each exchange is
  asked, and from where to go on. They do no input or output but logging in. `registry`: which
  there are.
- `reading`: one answer, read, validated and made free of repetitions; `asking`: as often as it
  takes.
- `fetching`: page after page into the catalog; `full`: all of it anew; `staging`, `report`: what
  both share. `progress`: how far it is.
- `ncmec_feedback`: tells NCMEC what its members think of an entry.
"""

from __future__ import annotations
