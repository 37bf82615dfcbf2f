"""`hashwarden scan report`: writes reports of a scan, also of one whose records are encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from matcher.cli import reading, scan_folders
from matcher.cli.output import note, waiting
from matcher.cli.paths import ExistingPath
from matcher.cli.scan_asked import recipients
from matcher.cli.scan_options import DEFAULT_FORMATS, FORMATS, NAMING
from matcher.cli.scan_results import write_all
from matcher.cli.scan_values import NamesType

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("report", short_help="Write reports of a scan.")
@scan_folders.folder
@click.option(
    "--format",
    "formats",
    metavar="FORMAT,...",
    type=NamesType(FORMATS),
    default=",".join(DEFAULT_FORMATS),
    show_default=True,
    help=f"Which: {', '.join(FORMATS)}.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where they go. Default: the scan's own folder.",
)
@click.option(
    "--vics-profile",
    default="",
    metavar="NAME",
    help="Whose categories the VICS file has, e.g. US. Default: those of most of what was found.",
)
@click.option(
    "--identity",
    "key_files",
    multiple=True,
    type=ExistingPath(dir_okay=False, path_type=Path),
    metavar="KEY_FILE",
    help="Open records that are encrypted with age by this private key, as age-keygen or "
    "ssh-keygen made it. Reports are written in the clear then, unless --encrypt-to is given. "
    "Repeat for several.",
)
@click.option(
    "--encrypt-to",
    multiple=True,
    metavar="PUBLIC_KEY",
    help="Encrypt reports that name objects with age to this public key: age1..., ssh-ed25519 ... "
    "or ssh-rsa .... Repeat for several.",
)
@click.option(
    "--encrypt-to-file",
    "recipient_files",
    multiple=True,
    type=ExistingPath(dir_okay=False, path_type=Path),
    help="The same to every public key in this file, one a line. Repeat for several.",
)
def command(
    *,
    folder: Path,
    formats: Sequence[str],
    output: Path | None,
    vics_profile: str,
    key_files: Sequence[Path],
    encrypt_to: Sequence[str],
    recipient_files: Sequence[Path],
) -> None:
    """Write reports of the scan in DIR; of one that is not finished, of what there is.

    All but html name objects: each is a map to the material, for its owner alone to read. A scan
    with --encrypt-to has only encrypted records: for those name your private key with --identity.
    Each file is replaced as a whole.
    """
    with scan_folders.opened(folder) as state:
        identities = reading.identities_of(key_files)
        naming = [each for each in formats if each in NAMING]
        if state.document.recipients and naming and not identities:
            raise click.UsageError(
                f"the records of this scan are encrypted: add --identity KEY_FILE to write "
                f"{', '.join(naming)}, or choose --format html"
            )
        target = output or folder
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with waiting("Writing reports"):
            written = write_all(
                state,
                target,
                formats,
                identities=identities,
                vics_profile=vics_profile,
                recipients=recipients(encrypt_to, recipient_files),
            )
    for told in written.notes:
        note(told)
    for file in written.files:
        click.echo(str(file))


__all__ = ["command"]
