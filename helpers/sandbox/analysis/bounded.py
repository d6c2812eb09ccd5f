"""Read untrusted text in a process of its own, which may be slow, grow or crash.

A parser's work may grow with the square of a hostile text's length, in time and in memory, and a
parser in C may crash. So everything that only reads a program's text is done by one worker process
with limits. It is started when it is first needed, and again after it was lost. The program itself
never runs there.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from helpers.project import BookError, MissingError, UsageError

from ..records import NotAvailable, SandboxError

SECONDS = 20.0  # for one question
MEMORY = 1 << 30  # addresses of the worker
_ANSWER = 64 << 20  # bytes of one answer
_START = (
    "import sys; from helpers.sandbox.analysis.bounded import serve; "
    "serve(sys.stdin.buffer, sys.stdout.buffer)"
)
_KEPT = ("PATH", "PYTHONHOME", "SYSTEMROOT", "LD_LIBRARY_PATH")
_ERRORS: dict[str, type[BookError]] = {
    kind.__name__: kind for kind in (UsageError, MissingError, NotAvailable, SandboxError)
}
_inside = False  # whether this process is the worker

P = ParamSpec("P")
R = TypeVar("R")


def bounded(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of this package run in the worker process.

    Its arguments and what it returns must be data that JSON keeps: no tuples, no keys but texts.

    Raises
    ------
    UsageError : from the new function, if a program's text takes too long, needs too much memory,
        or crashes a parser
    """
    name = f"{function.__module__.rpartition('.')[2]}:{function.__qualname__}"

    @functools.wraps(function)
    def outside(*args: P.args, **options: P.kwargs) -> R:
        if _inside:
            return function(*args, **options)
        return _worker.ask(name, args, options)

    return outside


def close() -> None:
    """End the worker process. The next question starts another."""
    with _worker.lock:
        _worker.end()


class _Worker:
    """The worker process, seen from the process that asks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            question = json.dumps([name, args, options]).encode("ascii") + b"\n"
        except (TypeError, ValueError, RecursionError):
            raise UsageError("A program is text, and its language is named by text.") from None
        with self.lock:
            try:
                kind, answer = self._answer(question)
            except BaseException:  # also when the user interrupts: no answer may be left over
                self.end()
                raise
        if kind:
            raise _ERRORS.get(kind, SandboxError)(answer)
        return answer

    def _answer(self, question: bytes) -> tuple[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        slow = threading.Event()

        def stop() -> None:
            slow.set()
            process.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(question)
            process.stdin.flush()
            line = process.stdout.readline(_ANSWER)
        except OSError:
            line = b""
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            kind, answer = json.loads(line)
            return kind, answer
        self.end()
        if slow.is_set():
            reason = f"it took more than {SECONDS:g} s"
        elif line:
            reason = f"the answer has more than {_ANSWER >> 20} MiB"
        else:
            reason = f"a parser crashed, or needs more than {MEMORY >> 20} MiB of memory"
        raise UsageError(f"This program cannot be analysed: {reason}.")

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.end()
        root = str(Path(__file__).resolve().parents[3])
        env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        places = [root, os.environ.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(place for place in places if place)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START], env=env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        return self.process

    def end(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still to be written has no reader


_worker = _Worker()
atexit.register(lambda: _worker.end())


def _after_fork() -> None:
    """A child has no worker: the one it sees is its parent's."""
    global _worker
    _worker = _Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ------------------------------------------------------------------ in the worker process


def serve(questions: Any, answers: Any) -> None:
    """Answer questions until there are no more: a line of JSON for each."""
    global _inside
    _inside = True
    _limit()
    while line := questions.readline():
        name, args, options = json.loads(line)
        kind, answer = _done(name, args, options)
        text = json.dumps([kind, answer], allow_nan=False)
        answers.write(text.encode("ascii") + b"\n")
        answers.flush()


def _done(name: str, args: list[Any], options: dict[str, Any]) -> tuple[str, Any]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(f".{module}", __package__), function)
        return "", found(*args, **options)
    except BookError as error:
        kind = type(error).__name__
        return kind if kind in _ERRORS else "SandboxError", str(error)
    except RecursionError:
        return "UsageError", "This program cannot be analysed: it is nested too deeply."
    except MemoryError:
        reason = f"it needs more than {MEMORY >> 20} MiB of memory"
        return "UsageError", f"This program cannot be analysed: {reason}."
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:200]}"
        return "SandboxError", f"The analysis {name} failed ({said})."


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time limit of each question is left
        return
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (most, most))
        except (OSError, ValueError):
            continue
