"""Running chapters side by side, and renewing the outputs that the repository carries."""

from __future__ import annotations

import copy
import datetime
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.execution.cleaning import clean
from helpers.execution.files import (
    check_writable,
    explained,
    read_notebook,
    write_notebook,
    write_whole,
)
from helpers.execution.outcomes import Outcome, RunFailed
from helpers.execution.parameters import QUICK, changed_parameters, effective_parameters
from helpers.execution.progress import Reporter
from helpers.execution.stamps import (
    INJECTED,
    METADATA_KEY,
    code_sources,
    executed_path,
    imported_packages,
    prose,
    stamp,
    why_stale,
)
from helpers.project import BookError, MissingError, Project, UsageError

if TYPE_CHECKING:
    from helpers.execution.kernels import Session

# Seconds a chapter may take. Generous: they are there to end what hangs.
DEFAULT_TIMEOUT: dict[str, float] = {QUICK: 900.0, "gpu": 3600.0}
_LOCK_SECONDS = 2.0  # how long to wait for another run of the same chapter, without --wait
_TAGS_THAT_RUN = {"parameters", "raises-exception", "skip-execution"}


@dataclass
class _Job:
    """One chapter to run, checked."""

    chapter: str
    profile: str
    overrides: dict[str, Any]
    project: Project
    path: Path
    name: str
    timeout: float | None
    force: bool
    wait: bool
    keep: bool = False
    reasons: list[str] = field(default_factory=list)

    def stale_reasons(self) -> list[str]:
        """Why the executed copy cannot be used; empty when it can."""
        if self.force:
            return ["asked for with --force"]
        if not self.path.is_file():
            return ["it was not executed yet"]
        try:
            copied = read_notebook(self.path)
        except BookError:
            return ["its executed copy is damaged"]
        reasons = why_stale(copied, self.chapter, self.profile, self.overrides, self.project)
        source = read_notebook(self.project.notebook(self.chapter))
        if not reasons and prose(copied) != prose(source):
            return ["its text changed"]
        return reasons


def run(
    chapters: Iterable[str] | str | None = None,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    force: bool = False,
    timeout: float | None = None,
    jobs: int | None = None,
    project: Project | None = None,
    *,
    wait_for_others: bool = False,
    keep: bool = False,
    output: Path | None = None,
    reporter: Reporter | None = None,
) -> list[Outcome]:
    """Execute chapters whose executed copies are not current, side by side.

    Each chapter runs with papermill in a fresh kernel of this interpreter. Its executed copy is
    cleaned, stamped and then put at `executed_path`, whole or not at all. A failed run leaves its
    partial notebook in ``_build/failed/<profile>/`` and does not stop the others.

    Parameters
    ----------
    chapters : slugs, one slug, or None for every chapter that is written
    profile : whose values to use: ``quick``, or a file in the chapter's parameters folder
    overrides : further values by parameter name, which every chapter given must have
    force : execute also what is current
    timeout : seconds for each whole chapter (default: 900 for quick, 3600 for gpu, none for paper)
    jobs : chapters at once (default: the cores there are; 1 for profiles other than quick)
    project : the book (default: found from the current folder)
    wait_for_others : wait for another run of the same chapter instead of failing
    keep : where this machine lacks what a chapter needs, let the outputs in the repository stand in
        for its run at quick; without that, or if they are stale, the chapter fails
    output : also write the executed notebook there; for one chapter only
    reporter : shown what goes on (default: nothing is shown)

    Returns
    -------
    one outcome per chapter, in the order given

    Raises
    ------
    UsageError : for an unknown chapter, profile or parameter, before anything runs
    MissingError : where the build folder cannot be written
    RunFailed : at the end, if a chapter failed
    KeyboardInterrupt : after the kernels were stopped
    """
    project = project or Project.find()
    slugs = _slugs(chapters, project)
    if output is not None and len(slugs) != 1:
        raise UsageError("An output path needs exactly one chapter.")
    plan = []
    for slug in slugs:
        path = executed_path(slug, profile, overrides, project)  # checks everything
        name = slug if path.stem == slug else f"{slug} ({path.stem.removeprefix(slug)[2:]})"
        limit = DEFAULT_TIMEOUT.get(profile) if timeout is None else timeout
        plan.append(
            _Job(
                slug, profile, overrides or {}, project, path, name, limit, force,
                wait_for_others, keep and profile == QUICK and not overrides,
            )
        )  # fmt: skip
    outcomes = _run_all(plan, jobs or _default_jobs(profile), reporter or Reporter())
    if any(outcome.state == "failed" for outcome in outcomes):
        raise RunFailed(outcomes)
    if output is not None and outcomes[0].path is not None:
        write_whole(Path(output), outcomes[0].path.read_bytes())
    return outcomes


def _slugs(chapters: Iterable[str] | str | None, project: Project) -> list[str]:
    if chapters is None:
        return [chapter.slug for chapter in project.written()]
    chosen = [chapters] if isinstance(chapters, str) else list(dict.fromkeys(chapters))
    for slug in chosen:
        project.notebook(slug)
    return chosen


def _default_jobs(profile: str) -> int:
    from helpers.runtime import usable_cores

    return usable_cores() if profile == QUICK else 1


def _run_all(plan: list[_Job], jobs: int, reporter: Reporter) -> list[Outcome]:
    results: dict[int, Outcome] = {}
    waiting = []
    for position, job in enumerate(plan):
        job.reasons = job.stale_reasons()
        if job.reasons:
            waiting.append(position)
        else:
            results[position] = _current(job)
            reporter.finished(results[position])
    if waiting:
        check_writable(plan[0].path.parent)
        _run_side_by_side({p: plan[p] for p in waiting}, jobs, reporter, results)
    reporter.close()
    return [results[position] for position in range(len(plan))]


def _run_side_by_side(
    plan: dict[int, _Job], jobs: int, reporter: Reporter, results: dict[int, Outcome]
) -> None:
    # Longer chapters are not known beforehand, so they start in reading order.
    sessions: list[Session] = []
    stopping = threading.Event()
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        futures: dict[Future[Outcome], int] = {
            pool.submit(_run_one, job, reporter, sessions, stopping): position
            for position, job in plan.items()
        }
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    results[futures[future]] = future.result()
                    reporter.finished(results[futures[future]])
        except BaseException:
            stopping.set()
            for future in futures:
                future.cancel()
            for session in list(sessions):
                session.stop()
            reporter.close()
            raise


def _current(job: _Job) -> Outcome:
    record = read_notebook(job.path)["metadata"][METADATA_KEY].get("run", {})
    return Outcome(job.chapter, job.profile, "current", job.path, job.name, record=record)


def _run_one(
    job: _Job, reporter: Reporter, sessions: list[Session], stopping: threading.Event
) -> Outcome:
    try:
        with _held(job, stopping):
            reasons = job.stale_reasons()  # another run may have finished it meanwhile
            if not reasons:
                return _current(job)
            return _renewed(job) or _executed(job, reporter, sessions, stopping)
    except BookError as error:
        return Outcome(
            job.chapter, job.profile, "failed", None, job.name, error=str(error),
            exit_code=error.exit_code,
        )  # fmt: skip


@contextmanager
def _held(job: _Job, stopping: threading.Event) -> Iterator[None]:
    """Hold the lock of a run, so that two at once never work on the same copy."""
    from filelock import FileLock, Timeout

    place = job.project.build / "locks" / f"{job.profile}--{job.path.stem}.lock"
    holder = place.with_suffix(".holder")
    with explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place)
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                lock.acquire(timeout=0.2)
                break
            except Timeout:
                if stopping.is_set() or (not job.wait and time.monotonic() > end):
                    raise BookError(
                        f"another run of {job.name!r} at profile {job.profile!r} is going on "
                        f"({_holder(holder)}): wait for it to end, or use --wait"
                    ) from None
        try:
            holder.write_text(f"process {os.getpid()}", encoding="utf-8")
            yield
        finally:
            lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "unknown process"
    except OSError:
        return "unknown process"


# --- one execution --------------------------------------------------------------------------


def _executed(
    job: _Job, reporter: Reporter, sessions: list[Session], stopping: threading.Event
) -> Outcome:
    from helpers.execution.kernels import Session, execute

    # Taken before the run: an edit made meanwhile must leave the copy stale.
    source = read_notebook(job.project.notebook(job.chapter))
    carried = stamp(job.chapter, job.profile, job.overrides, job.project)
    values = changed_parameters(job.chapter, job.profile, job.overrides, job.project)
    session = Session(job.timeout, lambda done, total: reporter.cell(job.name, done, total))
    sessions.append(session)
    if stopping.is_set():
        session.stop()
    reporter.started(job.name, len(code_sources(source)) + bool(values))
    execute(source, values, job.project, session)
    nb = clean(session.nb or source, job.project.root)
    if session.failure is not None:
        return _failed(job, session, nb)
    record = run_record(job.chapter, job.profile, job.overrides, session, source, job.project)
    nb["metadata"][METADATA_KEY] = {"stamp": carried, "profile": job.profile, "run": record}
    write_notebook(job.path, nb)
    _partial_path(job).unlink(missing_ok=True)
    return Outcome(
        job.chapter, job.profile, "executed", job.path, job.name, session.seconds,
        tuple(job.reasons), record=record,
    )  # fmt: skip


def _partial_path(job: _Job) -> Path:
    return job.project.failed / job.profile / job.path.name


def _failed(job: _Job, session: Session, nb: Any) -> Outcome:
    failure = session.failure
    assert failure is not None
    if job.keep and failure.exit_code == MissingError.exit_code:
        kept = _kept(job, failure.message)
        if kept is not None:
            return kept
    text = f"stopped in code cell {failure.cell} ({failure.line})" if failure.cell else "stopped"
    error = f"{text}: {failure.message}"
    path = None
    if failure.kind != "stopped":
        path = _partial_path(job)
        write_notebook(path, nb)
        error += f" [partial notebook: {path.relative_to(job.project.root)}]"
    return Outcome(
        job.chapter, job.profile, "failed", path, job.name, session.seconds, tuple(job.reasons),
        error, failure.exit_code,
    )  # fmt: skip


def _kept(job: _Job, reason: str) -> Outcome | None:
    """Let the outputs in the repository stand in for a run, unless they are stale."""
    nb = read_notebook(job.project.notebook(job.chapter))
    if why_stale(nb, job.chapter, project=job.project):
        return None
    record = {"profile": QUICK, "kept": reason}
    # Without a stamp the copy is never current, so that the next build tries again.
    nb["metadata"][METADATA_KEY] = {"profile": QUICK, "run": record}
    write_notebook(job.path, nb)
    return Outcome(
        job.chapter, job.profile, "kept", job.path, job.name, reasons=tuple(job.reasons),
        error=reason, record=record,
    )  # fmt: skip


def run_record(
    slug: str,
    profile: str,
    overrides: dict[str, Any],
    session: Session,
    nb: Any,
    project: Project,
) -> dict[str, Any]:
    """Describe an execution: values, seconds, memory, device, machine, versions, day."""
    from helpers.runtime import describe_machine

    record = {
        "profile": profile,
        "parameters": effective_parameters(slug, profile, overrides, project),
        "seconds": round(session.seconds, 1),
        "peak_memory_gib": round(session.peak_memory / 2**30, 2),
        "device": session.probe.get("device", "unknown"),
        "machine": describe_machine(),
        "versions": versions(tuple(imported_packages(nb, project))),
        "date": datetime.date.today().isoformat(),
    }
    gpu_memory = session.probe.get("gpu_memory_gib")
    if gpu_memory is not None:
        record["peak_gpu_memory_gib"] = round(gpu_memory, 2)
    return record


@lru_cache(maxsize=64)
def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of Python and of the distributions that provide the packages named."""
    import platform
    from importlib.metadata import packages_distributions, version

    provides = packages_distributions()
    names = {provides[package][0] for package in packages if package in provides}
    found = {name: version(name) for name in sorted(names, key=str.lower)}
    return {"python": platform.python_version(), **found}


# --- outputs that still belong to the code --------------------------------------------------


def _renewed(job: _Job) -> Outcome | None:
    """Keep the outputs of an executed copy where only text, captions or tags changed."""
    if job.force or not job.path.is_file():
        return None
    try:
        old = read_notebook(job.path)
        source = read_notebook(job.project.notebook(job.chapter))
        now = stamp(job.chapter, job.profile, job.overrides, job.project)
        carried = old["metadata"][METADATA_KEY]
        same = all(carried["stamp"][key] == now[key] for key in ("helpers", "parameters", "lock"))
        complete = carried["run"]["profile"] == job.profile
    except (BookError, KeyError):
        return None
    if not (same and complete and _runs_alike(old, source)):
        return None
    nb = with_outputs(source, old)
    injected = [c for c in old["cells"] if INJECTED in c["metadata"].get("tags", [])]
    if injected:
        tags = [cell["metadata"].get("tags", []) for cell in nb["cells"]]
        after = next(i for i, given in enumerate(tags) if "parameters" in given) + 1
        nb["cells"][after:after] = injected
    nb["metadata"][METADATA_KEY] = {**carried, "stamp": now}
    write_notebook(job.path, clean(nb, job.project.root))
    return Outcome(
        job.chapter, job.profile, "renewed", job.path, job.name, reasons=tuple(job.reasons),
        record=carried["run"],
    )  # fmt: skip


def _runs_alike(one: Any, other: Any) -> bool:
    def facts(nb: Any) -> list[set[str]]:
        own = (c["metadata"].get("tags", []) for c in nb["cells"] if c["cell_type"] == "code")
        return [set(tags) & _TAGS_THAT_RUN for tags in own if INJECTED not in tags]

    return code_sources(one) == code_sources(other) and facts(one) == facts(other)


def with_outputs(source: Any, executed: Any) -> Any:
    """Return a copy of a notebook with the outputs of an executed copy of the same code."""
    nb = copy.deepcopy(source)
    cells = [c for c in executed["cells"] if c["cell_type"] == "code"]
    given = [c for c in cells if INJECTED not in c["metadata"].get("tags", [])]
    own = [c for c in nb["cells"] if c["cell_type"] == "code"]
    for cell, done in zip(own, given, strict=True):
        cell["outputs"] = copy.deepcopy(done["outputs"])
        cell["execution_count"] = done["execution_count"]
    return nb


# --- the outputs in the repository ----------------------------------------------------------


def refresh(
    chapters: Iterable[str] | str | None = None,
    check: bool = False,
    force: bool = False,
    project: Project | None = None,
    *,
    timeout: float | None = None,
    jobs: int | None = None,
    wait_for_others: bool = False,
    reporter: Reporter | None = None,
) -> list[Outcome]:
    """Renew the outputs of the committed notebooks that are stale, from runs at quick.

    An executed copy that is current is used as it is. The notebooks keep their sources, cell ids
    and cell metadata; they get outputs and a stamp, and no clock.

    Parameters
    ----------
    chapters : slugs, one slug, or None for every chapter that is written
    check : only report: outcomes are ``current`` or ``stale`` and nothing runs
    force : execute and renew also what is current
    project, timeout, jobs, wait_for_others, reporter : as in `run`

    Returns
    -------
    one outcome per chapter: ``current``, ``refreshed`` or ``stale``

    Raises
    ------
    RunFailed : if a chapter failed; the others are renewed
    """
    project = project or Project.find()
    slugs = _slugs(chapters, project)
    found = {slug: _committed_outcome(slug, project) for slug in slugs}
    if check:
        return list(found.values())
    stale = [slug for slug in slugs if force or found[slug].state == "stale"]
    failed: RunFailed | None = None
    try:
        done = run(
            stale, QUICK, force=force, timeout=timeout, jobs=jobs, project=project,
            wait_for_others=wait_for_others, reporter=reporter,
        )  # fmt: skip
    except RunFailed as error:
        failed, done = error, error.outcomes
    for outcome in done:
        good = outcome.state != "failed"
        found[outcome.chapter] = _write_back(outcome, project) if good else outcome
    if failed:
        raise RunFailed(list(found.values()))
    return list(found.values())


def _committed_outcome(slug: str, project: Project) -> Outcome:
    path = project.notebook(slug)
    reasons = tuple(why_stale(read_notebook(path), slug, QUICK, None, project))
    return Outcome(slug, QUICK, "stale" if reasons else "current", path, reasons=reasons)


def _write_back(outcome: Outcome, project: Project) -> Outcome:
    path = project.notebook(outcome.chapter)
    executed = read_notebook(executed_path(outcome.chapter, QUICK, None, project))
    source = read_notebook(path)
    if not _runs_alike(source, executed):
        raise BookError(f"{path.name} was edited while it ran: refresh it again.")
    nb = clean(with_outputs(source, executed), project.root)
    carried = executed["metadata"][METADATA_KEY]["stamp"]
    # The text of Python's documentation, which chapters read, differs between its patch versions.
    python = executed["metadata"][METADATA_KEY]["run"]["versions"]["python"]
    nb["metadata"][METADATA_KEY] = {"stamp": carried, "profile": QUICK, "python": python}
    write_notebook(path, nb)
    return Outcome(
        outcome.chapter, QUICK, "refreshed", path, seconds=outcome.seconds,
        reasons=outcome.reasons, record=outcome.record,
    )  # fmt: skip
