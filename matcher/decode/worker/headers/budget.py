"""What reading the header of one file may cost, whatever the file says.

A reader walks parts one by one; everything else (searches, sums over arrays) is left to code that
takes a byte in about a nanosecond. So the parts are what is counted, over the whole file and not
over each of its levels, since levels and pages of a hostile file overlap.
"""

from __future__ import annotations

from matcher.decode.worker.failures import over_limit

#: Parts (segments, chunks, boxes, directory entries) of a file: far beyond any real file, and few
#: enough that a file made of nothing but parts costs a fraction of a second.
MOST_PARTS = 100_000
#: Sub-blocks of a GIF (one of 25 MiB has a tenth of this) and fill bytes of a JPEG, which Pillow
#: takes one by one.
MOST_STEPS = 1_000_000


class Budget:
    """Counts the parts and the steps of one file.

    Attributes:
        steps_left: steps that may still be taken.
    """

    def __init__(self, image_format: str) -> None:
        self._format = image_format
        self._parts = 0
        self.steps_left = MOST_STEPS

    def take_parts(self, count: int = 1) -> None:
        """Counts parts before they are walked.

        Raises:
            NotDecodableError: over the limit.
        """
        self._parts += count
        if self._parts > MOST_PARTS:
            raise over_limit(self._format, self._parts, MOST_PARTS, "parts or more")

    def take_steps(self, count: int) -> None:
        """Counts steps.

        Raises:
            NotDecodableError: over the limit.
        """
        self.steps_left -= count
        if self.steps_left < 0:
            raise over_limit(
                self._format, MOST_STEPS - self.steps_left, MOST_STEPS, "steps or more"
            )
