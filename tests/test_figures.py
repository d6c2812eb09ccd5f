"""The book's figures can be read by everyone, show what they are given, and save alike."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations, product

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb, to_rgba

from helpers import figures

# Full deficiency, on linear RGB: Machado, Oliveira and Fernandes, "A physiologically-based model
# for simulation of color vision deficiency", IEEE TVCG 15 (2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # sRGB, D65
WHITE = TO_XYZ.sum(axis=1)


def _linear(colour: object) -> np.ndarray:
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b*, in which a distance of about 2.3 is just seen."""
    ratio = TO_XYZ @ linear.clip(0, 1) / WHITE
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _contrast(first: object, second: object) -> float:
    """WCAG's contrast ratio of two colours, 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ _linear(colour)) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(autouse=True)
def book_style() -> Iterator[None]:
    with mpl.rc_context():
        figures.use_book_style()
        yield
    plt.close("all")


@pytest.fixture
def axes() -> plt.Axes:
    return plt.subplots()[1]


def test_the_measures_of_colour_agree_with_known_values() -> None:
    assert _contrast("black", "white") == pytest.approx(21, rel=1e-3)
    assert _contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)  # WCAG's own example
    assert _lab(_linear("red")) == pytest.approx([53.2, 80.1, 67.2], abs=0.2)
    # Red and this green differ much, but hardly to someone without the cones for red or green.
    for vision, near in (("normal", False), ("deuteranopia", True), ("tritanopia", False)):
        red, green = (_lab(VISION[vision] @ _linear(c)) for c in ("#a52a2a", "#556b2f"))
        assert (np.linalg.norm(red - green) < 20) == near, vision


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart_with_any_common_colour_vision(vision: str) -> None:
    seen = {c: _lab(VISION[vision] @ _linear(c)) for c in figures.COLOURS}
    for first, second in combinations(figures.COLOURS, 2):
        distance = float(np.linalg.norm(seen[first] - seen[second]))
        assert distance > 15, f"{first} and {second} under {vision}: {distance:.1f}"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_colours_used_first_stand_out_from_the_page(index: int) -> None:
    assert _contrast(figures.COLOURS[index], "white") >= 3


def test_each_style_differs_in_colour_line_and_marker() -> None:
    styles = [figures.style(i) for i in range(len(figures.COLOURS))]
    for key in ("color", "linestyle", "marker"):
        assert len({str(look[key]) for look in styles}) == len(styles) >= 7
    assert figures.style(len(styles)) == styles[0]


def test_plots_take_the_books_colours_in_order(axes: plt.Axes) -> None:
    lines = [axes.plot([0, 1])[0] for _ in figures.COLOURS]
    assert [to_hex(line.get_color()).upper() for line in lines] == list(figures.COLOURS)
    assert axes.figure.get_figwidth() == figures.WIDTH


RUNS = np.array([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0], [2.0, 8.0, 5.0], [0.0, 0.0, 3.0]])


def test_a_curve_is_the_mean_and_its_band_one_standard_deviation(axes: plt.Axes) -> None:
    x = [0, 10, 20, 30]
    figures.curve_with_band(axes, x, RUNS, "DLL", index=1)
    (line,), (band,) = axes.lines, axes.collections
    assert np.allclose(line.get_xydata(), np.c_[x, [2, 4, 5, 1]])
    sd = np.array([1.0, 0.0, 3.0, np.sqrt(3.0)])  # of (1, 3, 2), (4, 4, 4), (2, 8, 5), (0, 0, 3)
    corners = band.get_paths()[0].vertices
    for place, mean, spread in zip(x, [2, 4, 5, 1], sd, strict=True):
        at = corners[corners[:, 0] == place, 1]
        assert (at.min(), at.max()) == pytest.approx((mean - spread, mean + spread))
    assert (line.get_label(), to_hex(line.get_color()).upper()) == ("DLL", figures.COLOURS[1])
    assert to_rgba(line.get_color(), alpha=0.18) == pytest.approx(band.get_facecolor()[0])
    assert len(axes.get_legend_handles_labels()[1]) == 1


def test_one_seed_has_a_band_of_no_width(axes: plt.Axes) -> None:
    figures.curve_with_band(axes, [0, 1], [[1.0], [2.0]], "one")
    corners = axes.collections[0].get_paths()[0].vertices
    assert set(map(tuple, corners)) == {(0.0, 1.0), (1.0, 2.0)}


@pytest.mark.parametrize(("length", "every"), [(3, 1), (8, 1), (80, 10)])
def test_a_long_curve_has_about_eight_markers(axes: plt.Axes, length: int, every: int) -> None:
    figures.curve_with_band(axes, range(length), np.ones((length, 2)), "many")
    assert axes.lines[0].get_markevery() == every


def test_bars_are_means_with_one_point_per_seed(axes: plt.Axes) -> None:
    groups = {"backprop": [96.0, 98.0, 97.0], "DLL": [90.0, 94.0], "one seed": [50.0]}
    figures.bars_with_points(axes, groups, "accuracy (%)", reference=10.0)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([97, 92, 50])
    *points, chance = axes.lines
    for row, (values, dots) in enumerate(zip(groups.values(), points, strict=True)):
        assert list(dots.get_xdata()) == values
        assert dots.get_linestyle() == "None"
        assert dots.get_marker() == "o"
        assert len(set(dots.get_ydata())) == len(values)  # none hides another
        assert np.abs(dots.get_ydata() - row).max() < 0.3
    assert set(chance.get_xdata()) == {10.0}
    assert [t.get_text() for t in axes.get_yticklabels()] == list(groups)
    assert axes.yaxis.get_inverted()  # the first group is drawn on top
    assert axes.get_xlabel() == "accuracy (%)"


def test_bars_without_a_reference_mark_none(axes: plt.Axes) -> None:
    figures.bars_with_points(axes, {"a": [1.0, 2.0]}, "x")
    assert len(axes.lines) == 1


def test_a_heat_map_writes_each_number_in_its_cell(axes: plt.Axes) -> None:
    values = [[1.25, -2.0, 3.0], [0.0, 10.0, 7.5]]
    image = figures.heat_map(axes, values, ["a", "b"], [0.1, 1, 10], "rate", "scale")
    written = {t.get_position(): t.get_text() for t in axes.texts}
    assert written == {
        (column, row): f"{values[row][column]:.1f}" for row, column in product(range(2), range(3))
    }
    assert np.array_equal(image.get_array(), values)
    assert image.get_clim() == (-2.0, 10.0)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.1", "1", "10"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("scale", "rate")


def test_a_heat_map_takes_limits_and_a_number_format(axes: plt.Axes) -> None:
    image = figures.heat_map(
        axes, [[0.5]], ["a"], ["b"], "", "", limits=(0.0, 1.0), number="{:.0%}"
    )
    assert image.get_clim() == (0.0, 1.0)
    assert axes.texts[0].get_text() == "50%"


@pytest.mark.parametrize("cmap", ["viridis", "viridis_r", "gray", "cividis"])
def test_every_number_on_a_heat_map_can_be_read(axes: plt.Axes, cmap: str) -> None:
    mpl.rcParams["image.cmap"] = cmap
    values = np.linspace(0, 1, 41)[None]
    image = figures.heat_map(axes, values, ["a"], range(41), "", "")
    for text, value in zip(axes.texts, values[0], strict=True):
        contrast = _contrast(text.get_color(), image.to_rgba(value)[:3])
        assert contrast >= 4.5, f"{value}: {contrast:.2f}"


def test_a_heat_map_of_equal_values_or_with_a_gap_can_be_read(axes: plt.Axes) -> None:
    image = figures.heat_map(axes, [[5.0, 5.0]], ["a"], ["b", "c"], "", "")
    assert _contrast(axes.texts[0].get_color(), image.to_rgba(5.0)[:3]) >= 4.5
    figures.heat_map(plt.subplots()[1], [[np.nan, 1.0], [2.0, 3.0]], ["a", "b"], ["c", "d"], "", "")
    gap = plt.gca().texts[0]
    assert (gap.get_text(), gap.get_color()) == ("nan", "black")  # on the white page


# In a notebook, figures go through IPython: the route is taken here without a kernel.
NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.display_formatter.active_types = ["image/svg+xml", "image/png"]
shell.enable_gui = lambda gui=None: None
import matplotlib
matplotlib.use("module://matplotlib_inline.backend_inline")
import matplotlib.pyplot as plt
import numpy as np
from helpers.figures import bars_with_points, curve_with_band, heat_map, use_book_style
use_book_style()
seen = []
for _ in range(2):
    figure, (one, two, three) = plt.subplots(1, 3)
    curve_with_band(one, range(9), np.arange(18.0).reshape(9, 2), "a")
    bars_with_points(two, {"a": [1, 2], "b": [3, 4]}, "x")
    three.set_clip_on(True)
    heat_map(three, [[1, 2], [3, 4]], "ab", "cd", "row", "column")
    data, _ = shell.display_formatter.format(figure)
    assert "image/png" not in data, list(data)
    seen.append(data["image/svg+xml"])
    plt.close(figure)
assert seen[0] == seen[1], "two files of the same figure differ"
print(seen[0])
"""


def test_the_same_figure_in_two_processes_is_the_same_undated_file() -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NOTEBOOK], stdout=-1, stderr=-1, text=True
        )
        for _ in range(2)
    ]
    done = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], done[0][1]
    (first, _), (second, _) = done
    assert first == second
    assert "<svg" in first
    assert "<path" in first
    assert not re.search(r"dc:date|\b20\d\d-\d\d|Matplotlib v", first)


def test_figures_are_drawn_on_white_without_a_box(axes: plt.Axes) -> None:
    assert to_hex(axes.figure.get_facecolor()) == "#ffffff"
    assert not axes.spines["top"].get_visible()
    assert not axes.spines["right"].get_visible()
    assert axes.spines["left"].get_visible()
