"""Sweeps: every point checked, kept when done, retried when failed, gathered in one table."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from execution_project import PARAMETERS, code, edit, make_project, notebook, read
from execution_project import text as markdown

from helpers.execution import Outcome, Sweep, SweepFailed, parse_grid, parse_seeds, sweep, sweeps
from helpers.execution.progress import Reporter
from helpers.project import MissingError, Project, UsageError

WORK = """\
import pathlib
from IPython.display import display
tries = pathlib.Path(f"tries-{width}")
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if width == 8:
    raise ValueError("too wide")
if width == 4 and len(tries.read_text()) == 1:
    raise RuntimeError("only the first time")
gain = [width * lr] * len(seeds)
data = [{"id": name, "paper": "P", "where": "Table 1", "quantity": "gain", "unit": "%",
         "rule": "mean > 0 %", "reason": "r", "seeds": seeds, "values": gain,
         "measured": gain[0], "sd": 0.5, "interval": [gain[0] - 1, gain[0] + 1],
         "verdict": "holds", "control": None, "positive_control": None, "limits": "l"}
        for name in ("c1", "c2")]
display({"application/vnd.tenpapers.claims+json": data, "text/plain": "claims"}, raw=True)"""


def _make(root: Path) -> Project:
    parameters = PARAMETERS.replace("# {2|4|8} neurons", "# neurons")
    chapter = notebook(markdown("# Swept"), code(parameters, "parameters"), code(WORK, "claims"))
    return make_project(root, {"swept": chapter, "seedless": notebook(code("1"))})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return _make(tmp_path_factory.mktemp("sweeps") / "a book")


@pytest.fixture(scope="module")
def first(project: Project) -> Sweep:
    """Two workers; one point fails for good, and one at its first try only."""
    grid = {"width": [2, 4, 8], "lr": [0.5]}
    with pytest.raises(SweepFailed) as caught:
        sweep("swept", grid, seeds=3, workers=2, retries=1, project=project)
    assert "width=8 lr=0.5: code cell 2 (import pathlib): ValueError: too wide" in str(caught.value)
    assert caught.value.summary.startswith("1 of 3 points failed")
    return caught.value.sweep


def test_failed_points_are_retried_and_then_reported(project: Project, first: Sweep) -> None:
    assert sorted(first.done) == ["width=2 lr=0.5", "width=4 lr=0.5"]
    assert list(first.failed) == ["width=8 lr=0.5"]
    tries = {w: (project.notebooks / f"tries-{w}").read_text() for w in (2, 4, 8)}
    assert tries == {2: "x", 4: "xx", 8: "xx"}


def test_results_are_one_tidy_table(project: Project, first: Sweep) -> None:
    assert first.folder == project.build / "sweeps" / "swept" / "quick"
    table = pd.read_csv(first.table)
    assert list(table["width"]) == [2, 2, 4, 4]  # in the order of the grid
    assert list(table["claim"]) == ["c1", "c2", "c1", "c2"]
    assert list(table["measured"]) == [1.0, 1.0, 2.0, 2.0]
    assert (table["high"] - table["low"] == 2).all()
    assert set(table["seeds"]) == {"[0, 1, 2]"}
    assert set(table["verdict"]) == {"holds"}
    assert (table["seconds"] > 0).all()
    parquet = pd.read_parquet(first.folder / "results.parquet")
    pd.testing.assert_frame_equal(parquet, table, check_dtype=False)


def test_every_point_is_an_executed_notebook_with_its_record(first: Sweep) -> None:
    points = sorted((first.folder / "points").glob("*.ipynb"))
    assert len(points) == 2
    own = [read(path)["metadata"]["tenpapers"] for path in points]
    assert {record["run"]["parameters"]["width"] for record in own} == {2, 4}


def test_the_plot_leaves_no_empty_panel(tmp_path: Path) -> None:
    claims = ["c1", "c2", "c3", "c4"]  # two rows of three places
    rows = [
        {"lr": lr, "claim": c, "measured": lr, "low": 0.0, "high": 1.0, "unit": ""}
        for c in claims
        for lr in (0.1, 0.2)
    ]
    sweeps._plot(tmp_path, pd.DataFrame(rows), ["lr"])
    picture = (tmp_path / "results.svg").read_text()
    assert picture.count('<g id="matplotlib.axis_') == 2 * len(claims)


def test_the_plot_has_a_panel_for_each_claim(first: Sweep) -> None:
    picture = (first.folder / "results.svg").read_text()
    assert picture.count('<g id="axes_') == 2
    assert (first.folder / "results.png").read_bytes().startswith(b"\x89PNG")


def test_done_points_are_not_run_again(
    project: Project, first: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_client", lambda *_: pytest.fail("a cluster was started"))
    again = sweep("swept", {"width": [2, 4], "lr": [0.5]}, seeds=3, project=project)
    assert (len(again.kept), again.done, again.failed) == (2, [], {})


class _Stops(Reporter):
    """Ctrl-C as soon as the first point is done."""

    def finished(self, outcome: Outcome) -> None:
        raise KeyboardInterrupt


def test_a_scheduler_by_address_and_an_interruption(tmp_path: Path) -> None:
    from distributed import LocalCluster

    made = _make(tmp_path / "a book")
    grid = {"width": [2, 3]}
    inside = {"processes": False, "protocol": "tcp", "dashboard_address": None}
    with LocalCluster(n_workers=1, threads_per_worker=1, silence_logs=50, **inside) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(KeyboardInterrupt):
            sweep("swept", grid, scheduler=address, project=made, reporter=_Stops())
        folder = made.build / "sweeps" / "swept" / "quick"
        assert len(pd.read_csv(folder / "results.csv")["point"].unique()) == 1
        assert len(list((folder / "points").glob("*.ipynb"))) == 1
        done = sweep("swept", grid, scheduler=address, project=made)
        assert (len(done.kept), len(done.done)) == (1, 1)
    edit(made, "swept", 2, "width * lr", "width * lr * 2")
    points = sweeps._points("swept", grid, {}, "quick", folder, made)
    assert not any(sweeps._is_current(point, "swept", "quick", made) for point in points)


def test_a_scheduler_that_does_not_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_CONNECT_SECONDS", 1)
    start = time.monotonic()
    with pytest.raises(MissingError, match="No Dask scheduler answers at tcp:"):
        sweep("swept", {"width": [16]}, scheduler="tcp://127.0.0.1:9", project=project)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["wdth=2"], "Did you mean 'width'"),
        (["width=2", "width=4"], "twice"),
        (["width="], "no value"),
        (["width"], "name=value"),
    ],
)
def test_a_wrong_axis_is_refused(project: Project, axes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_grid(axes, "swept", project)


def test_a_wrong_value_is_refused_before_anything_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_client", lambda *_: pytest.fail("a cluster was started"))
    grid = parse_grid(["width=2,wide"], "swept", project)
    with pytest.raises(UsageError, match="takes int, not str 'wide'"):
        sweep("swept", grid, project=project)
    with pytest.raises(UsageError, match="give it once"):
        sweep("swept", {"width": [2]}, overrides={"width": 4}, project=project)


def test_seeds_need_a_seeds_parameter(project: Project) -> None:
    assert parse_seeds(3, "swept", project) == [0, 1, 2]
    with pytest.raises(UsageError, match="no parameter 'seeds'"):
        parse_seeds(3, "seedless", project)


def test_equal_points_are_run_once(project: Project) -> None:
    grid = {"lr": [0.1, 0.10, 0.2]}
    points = sweeps._points("swept", grid, {}, "quick", project.build, project)
    assert [point.name for point in points] == ["lr=0.1", "lr=0.2"]


def test_a_worker_with_another_version_is_refused(project: Project) -> None:
    from helpers.project import BookError

    with pytest.raises(BookError, match="another version of 'swept'"):
        sweeps.run_point("swept", "quick", {}, None, str(project.root), {"notebook": "old"})
