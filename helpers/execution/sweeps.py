"""A chapter over a grid of parameters, on this machine or on any Dask scheduler."""

from __future__ import annotations

import itertools
import json
import math
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.execution.cleaning import clean
from helpers.execution.files import check_writable, read_notebook, write_notebook, write_whole
from helpers.execution.outcomes import Outcome
from helpers.execution.parameters import (
    QUICK,
    changed_parameters,
    check_values,
    effective_parameters,
    parse_value,
    profile_values,
    read_parameters,
    split_assignment,
    split_values,
)
from helpers.execution.progress import Reporter
from helpers.execution.running import DEFAULT_TIMEOUT, run_record
from helpers.execution.stamps import METADATA_KEY, parameters_hash, stamp, why_stale
from helpers.project import BookError, MissingError, Project, UsageError

if TYPE_CHECKING:
    import pandas as pd

_CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Point:
    """One set of values of a grid."""

    overrides: dict[str, Any]
    path: Path  # its executed notebook, once it is done
    name: str


@dataclass(frozen=True)
class Sweep:
    """What a sweep left behind.

    Attributes
    ----------
    folder : holds ``results.parquet``, ``results.csv``, the plot and ``points/``
    done : points executed in this call
    kept : points that were there already and current
    failed : error by point name
    """

    folder: Path
    done: list[str]
    kept: list[str]
    failed: dict[str, str]

    @property
    def table(self) -> Path:
        """The results as CSV."""
        return self.folder / "results.csv"


class SweepFailed(BookError):
    """Some points failed after their retries; ``sweep`` holds the others."""

    def __init__(self, sweep: Sweep) -> None:
        lines = [f"{name}: {error}" for name, error in sweep.failed.items()]
        total = len(sweep.failed) + len(sweep.done) + len(sweep.kept)
        count = f"{len(sweep.failed)} of {total} points failed"
        self.summary = f"{count}: the same command tries them again."
        super().__init__("\n".join([*lines, self.summary]))
        self.sweep = sweep


def parse_grid(axes: list[str], slug: str, project: Project | None = None) -> dict[str, list[Any]]:
    """Read grid axes written ``name=value,value``, with the type of each parameter known.

    Raises
    ------
    UsageError : for a parameter the chapter does not have, or a value it does not take
    """
    project = project or Project.find()
    known = read_parameters(read_notebook(project.notebook(slug)))
    grid: dict[str, list[Any]] = {}
    for axis in axes:
        name, text = split_assignment(axis)
        if name not in known:
            check_values(slug, known, {name: text})
        if name in grid:
            raise UsageError(f"The grid names {name!r} twice.")
        grid[name] = split_values(known[name], text)
    return grid


def parse_seeds(count: int, slug: str, project: Project | None = None) -> list[int]:
    """Return the seeds 0 to ``count`` - 1 for a chapter whose parameter ``seeds`` is a list."""
    project = project or Project.find()
    known = read_parameters(read_notebook(project.notebook(slug)))
    if "seeds" not in known:
        raise UsageError(f"Chapter {slug!r} has no parameter 'seeds', so --seeds says nothing.")
    return parse_value(known["seeds"], json.dumps(list(range(count))))


def sweep(
    slug: str,
    grid: dict[str, list[Any]],
    seeds: int | None = None,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    retries: int = 1,
    timeout: float | None = None,
    output: Path | None = None,
    project: Project | None = None,
    *,
    reporter: Reporter | None = None,
) -> Sweep:
    """Run a chapter at every point of a grid and collect its claims in one table.

    A point is one set of checked parameters, run as `run` would in a kernel of its own. Its
    executed notebook is kept in ``points/`` as soon as it is done, so a sweep that was stopped
    goes on where it was: points whose stamp is current are not run again. The table has one row
    for each point and claim.

    Parameters
    ----------
    slug : the chapter
    grid : values by parameter name; every combination is a point
    seeds : sets the chapter's parameter ``seeds`` to 0 ... seeds - 1
    profile, overrides : the values the grid starts from
    scheduler : address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``. Its workers need this
        project installed at the same commit. Default: a cluster on this machine
    workers : worker processes of the local cluster (default: the cores there are)
    retries : further tries for a failed point
    timeout : seconds for each point (default: that of the profile)
    output : folder for the results (default: ``_build/sweeps/<chapter>/<profile>``)
    project : the book (default: found from the current folder)
    reporter : shown what goes on (default: nothing is shown)

    Raises
    ------
    UsageError : for a wrong parameter or value, before anything runs
    MissingError : if no scheduler answers at the address, or it has no workers
    SweepFailed : at the end, if points failed; the table holds the others
    """
    project = project or Project.find()
    reporter = reporter or Reporter()
    folder = output or project.build / "sweeps" / slug / profile
    fixed = dict(overrides or {})
    if seeds is not None:
        fixed["seeds"] = parse_seeds(seeds, slug, project)
    points = _points(slug, grid, fixed, profile, Path(folder), project)
    kept = [point for point in points if _is_current(point, slug, profile, project)]
    for point in kept:
        reporter.finished(Outcome(slug, profile, "current", point.path, point.name))
    todo = [point for point in points if point not in kept]
    limit = DEFAULT_TIMEOUT.get(profile) if timeout is None else timeout
    names = list(dict.fromkeys([*grid, *fixed]))
    done: list[Point] = []
    failed: dict[str, str] = {}
    check_writable(Path(folder) / "points")
    try:
        if todo:
            with (
                _client(scheduler, workers, len(todo)) as client,
                closing(
                    _run_points(client, todo, slug, profile, limit, retries, project)
                ) as finished,
            ):
                reporter.started(f"sweep of {slug}", len(todo), "points")
                for number, (point, answer) in enumerate(finished, start=1):
                    outcome = _kept(point, answer, slug, profile, project)
                    if outcome.error:
                        failed[point.name] = outcome.error
                    else:
                        done.append(point)
                    reporter.cell(f"sweep of {slug}", number, len(todo))
                    reporter.finished(outcome)
    finally:
        reporter.close()
        ready = [point for point in points if point in kept or point in done]
        _write_results(Path(folder), ready, slug, profile, names, list(grid), project)
    result = Sweep(Path(folder), [p.name for p in done], [p.name for p in kept], failed)
    if failed:
        raise SweepFailed(result)
    return result


def _points(
    slug: str,
    grid: dict[str, list[Any]],
    fixed: dict[str, Any],
    profile: str,
    folder: Path,
    project: Project,
) -> list[Point]:
    twice = [name for name in grid if name in fixed]
    if twice:
        raise UsageError(f"Parameter {twice[0]!r} is in the grid and set as well: give it once.")
    known = read_parameters(read_notebook(project.notebook(slug)))
    profile_values(slug, profile, project)
    points: dict[str, Point] = {}
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        overrides = check_values(slug, known, {**fixed, **chosen})
        key = parameters_hash(changed_parameters(slug, profile, overrides, project))[:12]
        name = " ".join(f"{name}={_text(value)}" for name, value in chosen.items()) or slug
        points.setdefault(key, Point(overrides, folder / "points" / f"{key}.ipynb", name))
    return list(points.values())


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_current(point: Point, slug: str, profile: str, project: Project) -> bool:
    if not point.path.is_file():
        return False
    try:
        nb = read_notebook(point.path)
    except BookError:
        return False
    return not why_stale(nb, slug, profile, point.overrides, project)


# --- running --------------------------------------------------------------------------------


@contextmanager
def _client(scheduler: str | None, workers: int | None, points: int) -> Iterator[Any]:
    import logging

    import dask
    from distributed import Client, LocalCluster

    from helpers.runtime import usable_cores

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise MissingError(f"No Dask scheduler answers at {scheduler}.") from error
        with client:
            try:
                client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
            except TimeoutError as error:
                raise MissingError(f"The Dask scheduler at {scheduler} has no workers.") from error
            yield client
        return
    # A point's memory is its kernel's, which Dask does not see; so it must not pause for it.
    quiet = {"distributed.worker.daemon": True, "distributed.comm.timeouts.connect": "30s"}
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=min(points, workers or usable_cores()),
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _run_points(
    client: Any,
    points: list[Point],
    slug: str,
    profile: str,
    timeout: float | None,
    retries: int,
    project: Project,
) -> Generator[tuple[Point, Any], None, None]:
    """Submit every point; yield each with its notebook's text, or the exception, as it ends."""
    from distributed import as_completed

    unique = uuid.uuid4().hex[:8]  # a scheduler that lives on must not answer with old results
    futures = {}
    for point in points:
        carried = stamp(slug, profile, point.overrides, project)
        future = client.submit(
            run_point, slug, profile, point.overrides, timeout, str(project.root), carried,
            key=f"{slug}-{point.path.stem}-{unique}", retries=retries, pure=False,
        )  # fmt: skip
        futures[future] = point
    try:
        for future in as_completed(list(futures), loop=client.loop):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()
            future.release()
    finally:
        client.cancel(list(futures), force=True)


def run_point(
    slug: str,
    profile: str,
    overrides: dict[str, Any],
    timeout: float | None,
    root: str,
    carried: dict[str, str],
) -> str:
    """Execute one point on a worker and return its clean, stamped notebook as text.

    Parameters
    ----------
    slug, profile, overrides, timeout : the run
    root : the project's folder where the sweep was started; used if the worker sees it too
    carried : the stamp computed there, which this worker's checkout must agree with

    Raises
    ------
    BookError : if the chapter fails, or the worker has another version of it
    """
    import nbformat

    from helpers.execution.kernels import Session, execute

    shared = (Path(root) / "book" / "chapters.yaml").is_file()
    project = Project(Path(root)) if shared else Project.find()
    if stamp(slug, profile, overrides, project) != carried:
        raise BookError(f"this worker has another version of {slug!r}: bring it to the same commit")
    source = read_notebook(project.notebook(slug))
    values = changed_parameters(slug, profile, overrides, project)
    session = Session(timeout)
    execute(source, values, project, session)
    failure = session.failure
    if failure is not None:
        place = f"code cell {failure.cell} ({failure.line}): " if failure.cell else ""
        raise BookError(f"{place}{failure.message}")
    nb = clean(session.nb, project.root)
    record = run_record(slug, profile, overrides, session, source, project)
    nb["metadata"][METADATA_KEY] = {"stamp": carried, "profile": profile, "run": record}
    return nbformat.writes(nb, version=nbformat.NO_CONVERT)


def _kept(point: Point, answer: Any, slug: str, profile: str, project: Project) -> Outcome:
    """Write the notebook of a point that is done; tell of one that failed."""
    if isinstance(answer, BaseException):
        text = " ".join(str(answer).split()) or type(answer).__name__
        known = isinstance(answer, BookError)
        error = text if known else f"its worker died or failed ({type(answer).__name__}: {text})"
        return Outcome(slug, profile, "failed", None, point.name, error=error, exit_code=1)
    import nbformat

    nb = nbformat.reads(answer, as_version=4)
    write_notebook(point.path, nb)
    record = nb["metadata"][METADATA_KEY]["run"]
    return Outcome(
        slug, profile, "executed", point.path, point.name, record["seconds"], record=record
    )


# --- results --------------------------------------------------------------------------------


def _write_results(
    folder: Path,
    points: list[Point],
    slug: str,
    profile: str,
    names: list[str],
    axes: list[str],
    project: Project,
) -> None:
    if not points:
        return
    import io

    table = results(points, slug, profile, names, project)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_whole(folder / "results.parquet", buffer.getvalue())
    write_whole(folder / "results.csv", table.to_csv(index=False))
    if axes and table["claim"].notna().any():
        _plot(folder, table, [_column(name) for name in axes])


_RESULT_COLUMNS = (
    "point", "claim", "quantity", "unit", "measured", "sd", "low", "high", "verdict", "seconds",
    "peak_memory_gib", "device",
)  # fmt: skip


def _column(name: str) -> str:
    """The column of a parameter; one called like a result gets a prefix."""
    return f"parameter_{name}" if name in _RESULT_COLUMNS else name


def results(
    points: list[Point], slug: str, profile: str, names: list[str], project: Project
) -> pd.DataFrame:
    """Collect executed points into a table: one row for each point and claim.

    Parameters
    ----------
    points : those that are done
    slug, profile, project : whose points they are
    names : the parameters that get a column, besides ``seeds``

    Returns
    -------
    columns for the parameters, then point, claim, quantity, unit, measured, sd, low, high, verdict,
    seconds, peak_memory_gib and device; lists are written as JSON
    """
    import pandas as pd

    from helpers import claims

    rows = []
    for point in points:
        nb = read_notebook(point.path)
        record = nb["metadata"][METADATA_KEY]["run"]
        values = effective_parameters(slug, profile, point.overrides, project)
        shown = [*names, *(["seeds"] if "seeds" in values and "seeds" not in names else [])]
        row = {_column(name): _cell(values[name]) for name in shown}
        row["point"] = point.path.stem
        measured = {key: record.get(key) for key in ("seconds", "peak_memory_gib", "device")}
        for claim in claims.read(nb) or [{}]:
            rows.append({**row, **_claim_columns(claim), **measured})
    return pd.DataFrame(rows)


def _claim_columns(claim: dict[str, Any]) -> dict[str, Any]:
    low, high = claim.get("interval") or (None, None)
    names = ("quantity", "unit", "measured", "sd")
    return {
        "claim": claim.get("id"),
        **{name: claim.get(name) for name in names},
        "low": low,
        "high": high,
        "verdict": claim.get("verdict"),
    }


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _plot(folder: Path, table: pd.DataFrame, axes: list[str]) -> None:
    """Draw one small panel for each claim: measured against the first axis of the grid."""
    import io

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from helpers.figures import WIDTH, use_book_style

    claims = list(table.groupby("claim", sort=False))
    columns = min(3, len(claims))
    rows = math.ceil(len(claims) / columns)
    with rc_context():
        use_book_style()
        figure = Figure(figsize=(WIDTH, 2.4 * rows + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for (claim, part), panel in zip(claims, panels, strict=False):
            _panel(panel, str(claim), part, axes)
        for panel in list(panels):
            panel.set_axis_off()
        handles, labels = figure.axes[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=3)
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=150)
            write_whole(folder / f"results.{kind}", buffer.getvalue())


def _panel(panel: Any, claim: str, part: pd.DataFrame, axes: list[str]) -> None:
    import pandas as pd

    from helpers.figures import style

    first, others = axes[0], axes[1:]
    numeric = pd.api.types.is_numeric_dtype(part[first]) and part[first].dtype != bool
    order = {value: place for place, value in enumerate(dict.fromkeys(part[first]))}
    groups = part.groupby(others, sort=False) if others else [((), part)]
    for index, (key, group) in enumerate(groups):
        group = group.sort_values(first) if numeric else group
        x = group[first] if numeric else group[first].map(order)
        label = ", ".join(f"{n}={_text(v)}" for n, v in zip(others, _tuple(key), strict=True))
        look = style(index)
        panel.plot(x, group["measured"], label=label or None, **look)
        panel.vlines(x, group["low"], group["high"], color=look["color"], linewidth=1)
    if not numeric:
        panel.set_xticks(list(order.values()), [str(value) for value in order])
    elif part[first].min() > 0 and part[first].max() / part[first].min() >= 50:
        panel.set_xscale("log")
    unit = next((text for text in part["unit"] if text), "")
    panel.set_xlabel(first)
    panel.set_ylabel(f"measured ({unit})" if unit else "measured")
    panel.set_title(claim)  # which panel it is


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)
