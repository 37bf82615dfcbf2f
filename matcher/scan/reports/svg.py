"""Small plots as SVG for a page that needs nothing from elsewhere: bars, columns and a line.

A drawing stretches to the width it is given and holds no text but its title and description, so
that nothing in it grows or shrinks beyond reading: labels and the numbers themselves stand beside
it, as HTML. Colours are classes, which the page's style gives for light, dark and paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 600
_HEIGHT: Final = 160
_GRID_LINES: Final = 4
#: Of a column's place, what is left free.
_GAP: Final = 0.15
#: What a value that is not 0 takes at least, so that it is seen.
_LEAST: Final = 2.0


def stacked_bar(parts: Sequence[tuple[str, int]], whole: int, *, title: str) -> Markup:
    """One bar across, of parts side by side; the rest of the whole stays empty.

    Args:
        parts: class of the colour and value of each.
        whole: the value that the full width stands for.
        title: what is shown, for those who do not see it.
    """
    drawn, at = [], 0.0
    for name, value in parts:
        if value > 0 and whole > 0:
            width = max(_LEAST, _WIDTH * value / whole)
            drawn.append(_rect(at, 0, width, 14, name))
            at += width
    return _svg("bar", 14, title, "", drawn)


def columns(values: Sequence[int], *, title: str, description: str, colour: str) -> Markup:
    """Columns of equal width, from the left.

    Args:
        values: one for each; 0 or more.
        title: what is shown, for those who do not see it.
        description: the same at length.
        colour: class of the columns.
    """
    top = max(values, default=0)
    place = _WIDTH / max(1, len(values))
    drawn = _grid()
    for row, value in enumerate(values):
        if value > 0:
            height = max(_LEAST, _HEIGHT * value / top)
            left = place * (row + _GAP / 2)
            drawn.append(_rect(left, _HEIGHT - height, place * (1 - _GAP), height, colour))
    return _svg("plot", _HEIGHT, title, description, drawn)


def line(
    points: Sequence[tuple[float, float]], *, title: str, description: str, colour: str
) -> Markup:
    """A line over an area, from 0 up.

    Args:
        points: of the horizontal and vertical axis, 0 or more, the first growing.
        title: what is shown, for those who do not see it.
        description: the same at length.
        colour: class of the line.
    """
    drawn = _grid()
    right = points[-1][0] if points else 0.0
    top = max((value for _, value in points), default=0.0)
    if right > 0 and top > 0:
        at = [
            (_WIDTH * x / right, _HEIGHT - (_HEIGHT - _LEAST) * value / top) for x, value in points
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        around = f"{at[0][0]:.1f},{_HEIGHT} {path} {at[-1][0]:.1f},{_HEIGHT}"
        drawn.append(Markup('<polygon class="area {}" points="{}"/>').format(colour, around))
        drawn.append(Markup('<polyline class="line {}" points="{}"/>').format(colour, path))
    return _svg("plot", _HEIGHT, title, description, drawn)


def _svg(kind: str, height: int, title: str, description: str, drawn: Sequence[Markup]) -> Markup:
    more = Markup("<desc>{}</desc>").format(description) if description else Markup("")
    return Markup(
        '<svg class="{}" role="img" viewBox="0 0 {} {}" preserveAspectRatio="none">'
        "<title>{}</title>{}{}</svg>"
    ).format(kind, _WIDTH, height, title, more, Markup("").join(drawn))


def _grid() -> list[Markup]:
    step = _HEIGHT / _GRID_LINES
    return [
        Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>').format(
            _WIDTH, step * row, step * row
        )
        for row in range(_GRID_LINES + 1)
    ]


def _rect(x: float, y: float, width: float, height: float, name: str) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        name, x, y, width, height
    )


__all__ = ["columns", "line", "stacked_bar"]
