"""One notebook in one fresh kernel: started, watched, stopped, and told what became of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from helpers.execution.stamps import INJECTED
from helpers.project import Project

_ENGINE = "tenpapers"
_SAMPLE_SECONDS = 0.2
_START_SECONDS = 120
_GIB = 2**30
# Set by a terminal or a test run, and able to change what a notebook prints or draws.
_UNWANTED = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "MPLBACKEND", "PYTHONWARNINGS")
# Asked of the kernel after the last cell. It answers for what really happened in it.
_PROBE = """
def _probe():
    import json, sys
    torch = sys.modules.get("torch")
    device, memory = "cpu", None
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        device = "cuda: " + torch.cuda.get_device_name(0)
        memory = torch.cuda.max_memory_allocated() / 2**30
    elif torch is not None and torch.backends.mps.is_available():
        used = torch.mps.driver_allocated_memory()
        device, memory = ("mps", used / 2**30) if used else ("cpu", None)
    error = getattr(sys, "last_value", None)
    code = getattr(error, "exit_code", None)
    return json.dumps({"device": device, "gpu_memory_gib": memory, "exit_code": code})
"""

_log = logging.getLogger("tenpapers.execution")
_log.addHandler(logging.NullHandler())
_log.propagate = False


class _Kernels(AsyncKernelManager):
    """Starts this interpreter, whatever kernels are installed under the name python3."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")


@dataclass
class Failure:
    """Why a notebook did not run to its end."""

    kind: str  # "error", "dead", "timeout", "stopped" or "start"
    message: str  # one line
    cell: int | None = None  # number of the code cell in the source notebook, from 1
    line: str = ""  # the first line of that cell
    exit_code: int = 1


@dataclass
class Session:
    """One execution of one notebook; other threads may stop it.

    Attributes
    ----------
    on_cell : called with (code cells done, code cells in all) as cells finish
    timeout : seconds for the whole notebook, or None
    """

    timeout: float | None = None
    on_cell: Callable[[int, int], None] = lambda done, total: None
    nb: Any = None
    failure: Failure | None = None
    seconds: float = 0.0
    peak_memory: int = 0  # bytes, of the kernel and its children
    probe: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    stopped: bool = False
    process: Any = None
    current: int | None = None  # index of the cell that runs
    _task: Any = None
    _loop: Any = None

    def stop(self) -> None:
        """Stop the kernel; callable from any thread, at any time."""
        self.stopped = True
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop has just ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)

    def remaining(self, cell: Any = None) -> float | None:
        """Seconds left of the timeout; None without one."""
        if self.timeout is None:
            return None
        return max(0.1, self.timeout - (time.monotonic() - self.started))

    def run(self, client: Client, **start: Any) -> None:
        """Run a client's notebook on an event loop of its own."""

        async def main() -> None:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self.stopped:
                return
            await client.run(**start)

        with suppress(asyncio.CancelledError):  # `stop` was called
            asyncio.run(main())


class Client(NotebookClient):
    """nbclient with the memory of the kernel watched, and asked at the end what it used."""

    def __init__(self, nb: Any, session: Session, **options: Any) -> None:
        super().__init__(nb, **options)
        self.session = session

    async def run(self, **start: Any) -> None:
        """Start the kernel, run the code cells in order, stop the kernel."""
        self.reset_execution_trackers()
        self.shutdown_kernel = "immediate"
        async with self.async_setup_kernel(**start):
            self.session.process = getattr(self.km.provisioner, "process", None)  # type: ignore[union-attr]
            sampler = asyncio.ensure_future(self._sample_memory())
            try:
                await self._run_cells()
            except CellExecutionError:
                await self._probe()
                raise
            else:
                await self._probe()
                self.set_widgets_metadata()
                self.shutdown_kernel = "graceful"
            finally:
                sampler.cancel()

    async def _run_cells(self) -> None:
        code = [c for c in self.nb.cells if c.cell_type == "code"]
        done = 0
        for index, cell in enumerate(self.nb.cells):
            self.session.current = index
            await self.async_execute_cell(cell, index, execution_count=self.code_cells_executed + 1)
            if cell.cell_type == "code":
                done += 1
                self.session.on_cell(done, len(code))

    async def _sample_memory(self) -> None:
        while True:
            self.session.peak_memory = max(self.session.peak_memory, _tree_memory(self.session))
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _probe(self) -> None:
        """Ask the kernel which device it used. No answer is no reason to fail."""
        self.session.peak_memory = max(self.session.peak_memory, _tree_memory(self.session))
        with suppress(Exception):
            request = self.kc.execute(  # type: ignore[union-attr]
                _PROBE, silent=True, store_history=False, user_expressions={"probe": "_probe()"}
            )
            reply = await asyncio.wait_for(self.async_wait_for_reply(request), timeout=20)
            answer = reply["content"]["user_expressions"]["probe"]  # type: ignore[index]
            text = answer["data"]["text/plain"]
            self.session.probe = json.loads(text[1:-1].encode().decode("unicode_escape"))


def _tree_memory(session: Session) -> int:
    """Resident memory of the kernel and its children, in bytes. Shared pages count in each."""
    total = 0
    with suppress(psutil.Error, AttributeError):
        kernel = psutil.Process(session.process.pid)
        for process in [kernel, *kernel.children(recursive=True)]:
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


class _Engine(Engine):
    """The papermill engine behind `execute`."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, session: Session, start: dict[str, Any], **_: Any
    ) -> None:
        session.nb = nb_man.nb
        client = Client(
            nb_man.nb,
            session,
            km=_Kernels(connection_file=str(start.pop("connection_file"))),
            kernel_name=kernel_name,
            timeout_func=session.remaining,
            startup_timeout=_START_SECONDS,
            record_timing=False,
            coalesce_streams=True,
            log=_log,
        )
        client.owns_km = True  # so that it also stops the kernel
        with suppress(CellExecutionError):  # papermill finds the error in the outputs
            session.run(client, **start)


papermill_engines.register(_ENGINE, _Engine)


def kernel_environment(project: Project, folder: Path | None = None) -> dict[str, str]:
    """The environment of a kernel: reproducible arithmetic, this project's helpers first.

    Parameters
    ----------
    project : the book
    folder : where IPython may keep its files (default: nowhere in particular)
    """
    from helpers.runtime import REPRODUCIBLE_ENVIRONMENT

    environment = {k: v for k, v in os.environ.items() if k not in _UNWANTED}
    environment.update(REPRODUCIBLE_ENVIRONMENT)
    paths = [str(project.root), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    if folder is not None:
        environment["IPYTHONDIR"] = str(folder)
    return environment


def execute(nb: Any, values: dict[str, Any], project: Project, session: Session) -> None:
    """Execute a notebook in a fresh kernel of this interpreter, with papermill.

    The result is left in ``session``: ``nb`` with as many outputs as there are, ``failure`` (None
    when every cell ran), ``seconds``, ``peak_memory`` and ``probe``.

    Parameters
    ----------
    nb : notebook node; not changed
    values : what papermill injects after the parameters cell; nothing is injected when empty
    project : the book, whose notebooks' folder is the kernel's working folder
    session : carries the timeout and the progress callback
    """
    import papermill

    with tempfile.TemporaryDirectory(prefix="tenpapers-") as scratch:
        folder = Path(scratch)
        for attempt in (1, 2):
            session.failure, session.started = None, time.monotonic()
            with (folder / "stderr.txt").open("wb") as stderr:
                start = {
                    "env": kernel_environment(project, folder),
                    "cwd": str(project.notebooks),
                    "stdout": stderr,
                    "stderr": stderr,
                    "connection_file": folder / f"kernel-{attempt}.json",
                }
                options = {"session": session, "start": start, "progress_bar": False}
                try:
                    papermill.execute_notebook(
                        nb, None, values, engine_name=_ENGINE, kernel_name="python3",
                        language="python", **options,
                    )  # fmt: skip
                except Exception as error:
                    session.failure = _failure(error, session, folder / "stderr.txt")
                finally:
                    session.seconds = time.monotonic() - session.started
                    _kill_group(session)
            if session.failure is None or session.failure.kind != "start":
                break
    if session.stopped:
        session.failure = Failure("stopped", "stopped before its end")
    if session.failure is None:
        session.failure = _unfinished(session)


def _kill_group(session: Session) -> None:
    """End what the kernel may have left running. A kernel leads a process group of its own."""
    if session.process is None or not hasattr(os, "killpg"):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(session.process.pid, signal.SIGKILL)


def _failure(error: Exception, session: Session, stderr: Path) -> Failure:
    if isinstance(error, PapermillExecutionError):
        return _cell_failure(error, session)
    if isinstance(error, CellTimeoutError | asyncio.TimeoutError):
        message = f"took longer than the {session.timeout:g} s it was given (--timeout)"
        return Failure("timeout", message, *_place(session, session.current))
    if session.process is None or session.current is None:
        return Failure("start", f"its kernel did not start: {_last_line(stderr) or error}")
    if isinstance(error, DeadKernelError):
        return Failure("dead", _death(session, stderr), *_place(session, session.current))
    raise error


def _cell_failure(error: PapermillExecutionError, session: Session) -> Failure:
    # papermill has put two cells of its own in front of the one that failed
    index = next(
        i
        for i, cell in enumerate(session.nb.cells)
        if any(o.output_type == "error" for o in cell.get("outputs", []))
    )
    text = " ".join(str(error.evalue).split())
    hint = " (out of memory)" if error.ename in {"MemoryError", "OutOfMemoryError"} else ""
    code = session.probe.get("exit_code")
    exit_code = code if isinstance(code, int) and code in {1, 2, 3} else 1
    message = f"{error.ename}: {text}".rstrip(": ") + hint
    return Failure("error", message, *_place(session, index), exit_code)


def _place(session: Session, index: int | None) -> tuple[int | None, str]:
    """The number of a code cell in the source notebook, and its first line."""
    if session.nb is None or index is None:
        return None, ""
    before = session.nb.cells[: index + 1]
    code = [c for c in before if c.cell_type == "code"]
    own = [c for c in code if INJECTED not in c.metadata.get("tags", [])]
    lines = [line.strip() for line in before[-1].source.splitlines() if line.strip()]
    return len(own), lines[0] if lines else ""


def _death(session: Session, stderr: Path) -> str:
    used = f"{session.peak_memory / _GIB:.2f} GiB"
    there = f"{psutil.virtual_memory().total / _GIB:.1f} GiB"
    code = session.process.poll()
    if code == -signal.SIGKILL:
        return (
            "its kernel was killed (signal 9), probably out of memory: "
            f"it had used {used} of this machine's {there}"
        )
    said = _last_line(stderr)
    said = f": {said}" if said else ""
    if code is not None and code < 0:
        return f"its kernel died of {signal.Signals(-code).name}, having used {used}{said}"
    return f"its kernel ended itself with exit code {code}{said}"


def _last_line(path: Path) -> str:
    with suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def _unfinished(session: Session) -> Failure | None:
    """A cell that ends the notebook quietly, such as with sys.exit(), still failed it."""
    for index, cell in enumerate(session.nb.cells):
        ended = any(o.output_type == "error" for o in cell.get("outputs", []))
        if cell.cell_type == "code" and ended:
            place = _place(session, index)
            return Failure("error", "ended the notebook before its last cell", *place)
    return None
