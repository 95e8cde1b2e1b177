"""The style of all plots, and their export as PNG and SVG. Equal figures give equal bytes."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from naevi.rendering.colors import TEXT_COLOR

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "naevi",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 9,
} | dict.fromkeys(
    ["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"], TEXT_COLOR
)


@contextmanager
def plot_style() -> Iterator[None]:
    """Apply the style, whatever the user's matplotlibrc contains. Drawing and saving both need it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def new_plot(height: float) -> tuple[Figure, Axes]:
    """Return a figure of the usual width with one pair of axes; the height is in inches. Call it in `plot_style`."""
    figure = Figure(figsize=(5.2, height), layout="constrained")
    return figure, figure.subplots()


def escape_label(name: str) -> str:
    r"""Return a user's name as matplotlib has to get it: it reads $ as a formula and hides labels that begin with _."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG, without date or version."""
    buffer = io.BytesIO()
    with plot_style():
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """Return the figure as an <svg> element: text as shapes in the page's text color, ids that begin with `name`."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with plot_style():
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(TEXT_COLOR, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
