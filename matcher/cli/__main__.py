"""Runs the command line as `python -m matcher.cli`."""

from __future__ import annotations

import sys

from matcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
