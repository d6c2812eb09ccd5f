"""The book's plot style, and the few figures that many chapters draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart with any common colour vision; light yellow is left out,
# since it is lost on white. A line style and a marker go with each, so that grey print works too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 7.0  # inches: the width of the text column


def use_book_style() -> None:
    """Set the book's style: vector output, sizes and colours for the page.

    Figures have a white ground, so that they are readable in any viewer; the site turns their
    lightness over in its dark mode.
    """
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.4),
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.labelsize": 10,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "font.size": 10,
            "font.sans-serif": ["DejaVu Sans", "Verdana"],  # every text in a file names them
            "lines.linewidth": 2,
            "lines.markersize": 5,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "image.cmap": "viridis",
            "svg.hashsalt": "tenpapers",  # the same figure gives the same file
            "svg.fonttype": "none",  # letters as text: half the weight, in the reader's own font
            "image.interpolation": "none",  # a pixel of a picture stays one pixel in the file
        }
    )
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata={"Date": None, "Creator": None})


def style(index: int) -> dict[str, Any]:
    """Colour, line style and marker number ``index``, to be passed to ``Axes.plot``."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def curve_with_band(
    axes: Axes, x: Sequence[float], runs: Any, label: str, index: int = 0, marks: int = 8
) -> None:
    """Draw the mean over seeds with a band of one standard deviation.

    Parameters
    ----------
    axes : where to draw
    x : (T,) positions
    runs : (T, S) one column per seed
    label : for the legend
    index : which of the book's styles
    marks : about how many markers along the curve
    """
    runs = np.asarray(runs, dtype=float)
    mean = runs.mean(axis=1)
    sd = runs.std(axis=1, ddof=1) if runs.shape[1] > 1 else np.zeros_like(mean)
    look = style(index)
    axes.plot(x, mean, label=label, markevery=max(1, len(x) // marks), **look)
    axes.fill_between(x, mean - sd, mean + sd, color=look["color"], alpha=0.18, linewidth=0)


def bars_with_points(
    axes: Axes,
    groups: Mapping[str, Sequence[float]],
    label: str,
    reference: float | None = None,
    left: float = 0.0,
) -> None:
    """Draw one horizontal bar per group up to its mean, and a point per seed.

    With an axis that does not start at 0 the length of a bar would mislead; then a tick marks the
    mean in its place.

    Parameters
    ----------
    axes : where to draw
    groups : name of the group -> one value per seed; the first is drawn on top
    label : of the value axis, with unit
    reference : a value to mark by a thin line, for example chance
    left : where the value axis starts
    """
    rows = np.arange(len(groups))
    means = [float(np.mean(values)) for values in groups.values()]
    if left == 0:
        axes.barh(rows, means, height=0.6, color=COLOURS[0], alpha=0.35)
    else:
        axes.vlines(means, rows - 0.3, rows + 0.3, color=COLOURS[0], alpha=0.5)
        axes.set_xlim(left=left)
    for row, values in zip(rows, groups.values(), strict=True):
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(values, row + spread, "o", color=COLOURS[0], markersize=3.5)
    axes.set_yticks(rows, list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    if reference is not None:
        axes.axvline(reference, color=COLOURS[6], linewidth=1, linestyle=":")


def heat_map(
    axes: Axes,
    values: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    row_label: str,
    column_label: str,
    limits: tuple[float, float] | None = None,
    number: str = "{:.1f}",
) -> Any:
    """Draw a table of numbers as colours, with each number written in its cell.

    Parameters
    ----------
    values : (R, C)
    rows, columns : the labels of the cells
    limits : the values at the ends of the colour scale (default: those of ``values``)
    number : how a value is written

    Returns
    -------
    The image, for a colour bar.
    """
    values = np.asarray(values, dtype=float)
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    image = axes.imshow(values, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), [str(c) for c in columns])
    axes.set_yticks(range(len(rows)), [str(r) for r in rows])
    axes.set(xlabel=column_label, ylabel=row_label)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        luminance = np.power(image.to_rgba(value)[:3], 2.2) @ (0.2126, 0.7152, 0.0722)
        # At 0.18 black and white stand out alike. A missing value leaves the page's white.
        dark = luminance < 0.18 and not np.isnan(value)
        axes.text(column, row, number.format(value), ha="center", va="center", fontsize=8,
                  color="white" if dark else "black")  # fmt: skip
    return image
