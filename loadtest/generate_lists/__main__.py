"""The command line: writes one file, and prints the options with which it is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from loadtest.generate_lists import LISTS, write_list


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.generate_lists",
        description="Writes a list file with made-up records.",
    )
    parser.add_argument("format", choices=sorted(LISTS))
    parser.add_argument("file", type=Path, help="what to write")
    parser.add_argument("--records", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with arguments.file.open("wb") as out:
        write_list(arguments.format, out, records=arguments.records, seed=arguments.seed)
    size = arguments.file.stat().st_size
    print(f"{arguments.records} records, {size} bytes: {arguments.file}")
    for name, value in LISTS[arguments.format].options.items():
        print(f"--option {name}={value}")


if __name__ == "__main__":
    main()
