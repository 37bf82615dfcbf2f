"""The Parquet library, imported only once a file is opened, and what marks the own layout."""

from __future__ import annotations

from typing import Any, Final

from hashlists.errors import UnknownFormatError

#: Key and value of the file's metadata that say that it is of Hashwarden's own layout.
LAYOUT_KEY: Final = b"hashwarden.layout"
LAYOUT_VERSION: Final = "1"
#: What stands before the names of `delta_mark` in the metadata; numbers are in digits.
MARK_PREFIX: Final = "hashwarden."


def pyarrow_modules() -> tuple[Any, Any]:
    """`pyarrow`, with `pyarrow.compute` loaded, and `pyarrow.parquet`.

    Raises:
        UnknownFormatError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: ICN001, PLC0415  # large, and of use for this format alone
        import pyarrow.compute  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise UnknownFormatError(
            "Parquet is not installed here: install the extra parquet, e.g. "
            "pip install 'hashwarden[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet
