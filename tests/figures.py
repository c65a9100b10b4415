"""What a figure must have: panels with content that is not constant, and words that say what they show."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from advdepth_nb.report.page import Page


def has_content(ax: Axes) -> bool:
    """Whether a panel shows anything: an image with more than one value, a line of finite points, marks, or words."""
    varied = any(np.ptp(np.ma.filled(np.ma.asarray(i.get_array(), float), np.nan)[..., :3]) != 0 for i in ax.images)
    drawn = any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in ax.lines)
    marks = any(len(c.get_paths()) for c in ax.collections) or any(p.get_visible() for p in ax.patches)
    return bool(varied or drawn or marks or any(t.get_text().strip() for t in ax.texts))


def check_figure(figure: Figure, panels: int = 1) -> None:
    """At least `panels` panels, none of them empty, and a title or a label among them."""
    shown = [ax for ax in figure.axes if ax.get_visible() and (ax.axison or has_content(ax))]
    assert len(shown) >= panels, f"{len(shown)} panels, not {panels}"
    empty = [ax.get_title() or f"panel {i}" for i, ax in enumerate(shown) if not has_content(ax)]
    assert not empty, f"nothing is drawn in {', '.join(empty)}"
    words = [
        w for ax in shown for w in (ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts))
    ]
    assert any(w.strip() for w in words), "no title and no label"


def check_pages(pages: list[Page]) -> list[str]:
    """Draw the pages of a report, all but those that measure time; names of those that were drawn."""
    drawn = {page.name: page.draw() for page in pages if not page.timed}
    figures = {name: figure for name, figure in drawn.items() if isinstance(figure, Figure)}
    for figure in figures.values():
        check_figure(figure)
    return list(figures)


def check_file(path: Path) -> None:
    """A picture of a figure: neither blank nor a lonely line, in at least three of its four quarters."""
    gray = np.asarray(Image.open(path).convert("L"))
    half = [np.array_split(part, 2, axis=1) for part in np.array_split(gray, 2)]
    inked = [float((quarter < 250).mean()) > 0.005 and quarter.std() > 3 for row in half for quarter in row]
    assert sum(inked) >= 3, f"{path.name} is nearly empty"
