"""The caller's end of the warden, and the supervision of a process without one (Docker)."""

from __future__ import annotations

import array
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .records import Execution, Limits, SandboxError

Answer = tuple[dict[str, Any], bytes, bytes]
_WARDEN = Path(__file__).with_name("warden.py")
_START_SECONDS = 30


class Stopped(SandboxError):
    """The caller stopped the run."""


class Stop:
    """A switch that ends every run that was started with it, from whatever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: dict[object, Callable[[], Any]] = {}
        self._set = False

    def set(self) -> None:
        """End the runs; those that start later fail at once."""
        with self._lock:
            self._set = True
            actions = list(self._actions.values())
        for action in actions:
            action()

    def check(self) -> None:
        """Raise `Stopped` if the switch is set."""
        if self._set:
            raise Stopped("The run was stopped.")

    @contextmanager
    def calling(self, action: Callable[[], Any]) -> Iterator[None]:
        """Call ``action`` if the switch is set meanwhile, from the thread that sets it."""
        key = object()
        with self._lock:
            self.check()
            self._actions[key] = action
        try:
            yield
        finally:
            with self._lock:
                self._actions.pop(key, None)


class Pool:
    """Boxes side by side: started by one warden, at most ``slots`` at a time.

    Safe to use from several threads, and after a fork: the child starts a warden of its own. The
    warden starts with the first run. If it dies, the runs under way fail with `SandboxError` and
    the next run starts another one.
    """

    def __init__(self, private: Sequence[str], slots: int, bare: bool = False) -> None:
        self._slots = slots
        self._settings = {"private": list(private), "slots": slots, "bare": bare}
        self._closed = False
        self._next = 0
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        # Twice the slots: the warden always has the next plan at hand, and few open files.
        self._gate = threading.Semaphore(2 * self._slots)
        self._waiting: dict[int, Future[Answer]] = {}
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None  # the warden's last words, if it fails
        self._finalizer: weakref.finalize[..., Pool] | None = None

    def run(
        self, plan: dict[str, Any], stdin: bytes, files: Sequence[bytes], stop: Stop | None = None
    ) -> Answer:
        """Run one plan; see `helpers.sandbox.warden`.

        Returns
        -------
        The warden's answer, stdout and stderr

        Raises
        ------
        SandboxError : if the warden cannot start, or died, or ``stop`` was set
        """
        stop = stop or Stop()
        while not self._gate.acquire(timeout=0.1):
            stop.check()
        try:
            number, future = self._begin(plan, [stdin, *files])
            try:
                with stop.calling(lambda: self._abandon(number)):
                    return future.result()
            except BaseException:
                self._abandon(number)
                raise
        finally:
            self._gate.release()

    def _begin(self, plan: dict[str, Any], contents: Sequence[bytes]) -> tuple[int, Future[Answer]]:
        future: Future[Answer] = Future()
        with self._lock:
            if self._closed:
                raise SandboxError("The sandbox is closed: make a new one.")
            if self._link is None:
                self._start()
            number = self._next
            self._next += 1
            self._waiting[number] = future
            try:
                self._send({"id": number, **plan}, contents)
            except BaseException as error:
                self._waiting.pop(number, None)
                if isinstance(error, OSError):
                    raise SandboxError(
                        f"The sandbox's worker does not take work: {error}."
                    ) from None
                raise
        return number, future

    def _abandon(self, number: int) -> None:
        """End a run whose answer nobody needs any more; nothing if it has ended."""
        future = self._waiting.pop(number, None)
        if future is None:
            return
        future.set_exception(Stopped("The run was stopped."))
        with self._lock, suppress(OSError):
            if self._link is not None:
                self._send({"stop": number}, [])

    def close(self) -> None:
        """End the warden and every box; further calls do nothing."""
        with self._lock:
            self._closed = True
            finalizer, self._finalizer = self._finalizer, None
            self._link = self._process = None
        if finalizer is not None:
            finalizer()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        said = os.fdopen(os.memfd_create("warden", os.MFD_CLOEXEC), "r+b")
        with theirs:
            try:
                process = subprocess.Popen(
                    [
                        sys.executable, "-I", "-S", "-B", str(_WARDEN), str(theirs.fileno()),
                        json.dumps(self._settings),
                    ],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
                    env={}, cwd="/",
                )  # fmt: skip
            except OSError as error:
                ours.close()
                said.close()
                raise SandboxError(f"The sandbox's worker cannot start: {error}.") from None
        ours.settimeout(_START_SECONDS)
        try:
            ready = ours.recv(16)
        except OSError:
            ready = b""
        except BaseException:
            _end(ours, process)
            said.close()
            raise
        if not ready:
            _end(ours, process)
            words = _last_words(said, process)
            raise SandboxError(f"The sandbox's worker cannot start: {words}.")
        ours.settimeout(None)
        self._link, self._process, self._said = ours, process, said
        self._waiting = {}
        self._finalizer = weakref.finalize(self, _end, ours, process)
        threading.Thread(
            target=_listen, args=(ours, process, self._waiting, weakref.ref(self), said),
            daemon=True, name="sandbox",
        ).start()  # fmt: skip

    def _send(self, plan: dict[str, Any], contents: Sequence[bytes]) -> None:
        assert self._link is not None
        descriptors: list[int] = []
        try:
            for content in (json.dumps(plan).encode(), *contents):
                descriptors.append(_sealed(content))
            rights = array.array("i", descriptors)
            self._link.sendmsg([b"run"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _lost(self, link: socket.socket) -> None:
        with self._lock:
            if self._link is link:
                finalizer, self._finalizer = self._finalizer, None
                self._link = self._process = None
            else:
                finalizer = None
        if finalizer is not None:
            finalizer()

    def _forget(self) -> None:
        """In the child after a fork: let go of the parent's warden, and leave it alone."""
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._link is not None:
            self._link.close()
        if self._said is not None:
            self._said.close()
        if self._process is not None:
            self._process.returncode = 0  # not this process's child: nothing to wait for
        self._reset()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _sealed(content: bytes) -> int:
    """Return an anonymous file that nobody can change any more, positioned at its start."""
    import fcntl

    descriptor = os.memfd_create("box", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        # No writing, growing, shrinking, or further seals.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0x000F)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _last_words(said: IO[bytes], process: subprocess.Popen[bytes]) -> str:
    """Why the warden ended: the last line it wrote to stderr, or the signal. Closes the file."""
    with said:
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    if lines:
        return lines[-1]
    code = process.returncode
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return "without a message"


def _listen(
    link: socket.socket,
    process: subprocess.Popen[bytes],
    waiting: dict[int, Future[Answer]],
    pool: Callable[[], Pool | None],
    said: IO[bytes],
) -> None:
    """Hand the warden's answers to those who wait, until the warden or the caller ends."""
    reason = ""
    while True:
        try:
            contents = _received(link)
        except (OSError, ValueError, IndexError) as error:
            reason = str(error)
            break
        if contents is None:
            break
        answer = json.loads(contents[0])
        future = waiting.pop(answer["id"], None)
        if future is not None:
            out, err = contents[1:] if len(contents) == 3 else (b"", b"")
            future.set_result((answer, out, err))
    owner = pool()
    if owner is not None:
        owner._lost(link)
    with suppress(OSError, ValueError):
        reason = f"{_last_words(said, process)}" + (f"; {reason}" if reason else "")
    for number in list(waiting):
        future = waiting.pop(number, None)
        if future is not None:
            future.set_exception(
                SandboxError(f"The sandbox's worker ended ({reason}): run the program again.")
            )


def _received(link: socket.socket) -> list[bytes] | None:
    """The contents of the files that one message of the warden carries; None at its end."""
    data, ancillary, flags, _ = link.recvmsg(16, socket.CMSG_LEN(3 * 4))
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % 4])
    contents = []
    for descriptor in descriptors:
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            contents.append(file.read())
    if data and (flags & socket.MSG_CTRUNC or not contents):
        raise OSError("this process has no room for another open file")
    return contents if data else None


def _end(link: socket.socket, process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def supervise(
    command: Sequence[str],
    stdin: bytes,
    limits: Limits,
    end: Callable[[], Any],
    stop: Stop | None = None,
) -> Execution:
    """Run a command of this machine under a clock and a cap on its output.

    Parameters
    ----------
    end : called if the command did not end by itself, to end what it started elsewhere

    Raises
    ------
    SandboxError : if the command cannot be started, or ``stop`` was set
    """
    stop = stop or Stop()
    news: queue.SimpleQueue[str] = queue.SimpleQueue()
    kept = {"out": bytearray(), "err": bytearray()}
    cut: list[str] = []

    def read(pipe: IO[bytes], name: str) -> None:
        with pipe, suppress(OSError, ValueError):
            while data := pipe.read1(1 << 16):  # type: ignore[attr-defined]
                room = limits.output_bytes - len(kept[name])
                kept[name] += data[:room]
                if len(data) > room:
                    cut.append(name)
                    news.put("output")
                    break
        news.put("end")

    def write(pipe: IO[bytes]) -> None:
        with suppress(OSError, ValueError), pipe:
            pipe.write(stdin)

    began = time.monotonic()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SandboxError(f"{command[0]} cannot be started: {error}.") from None
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    threads = [
        threading.Thread(target=read, args=(process.stdout, "out"), daemon=True),
        threading.Thread(target=read, args=(process.stderr, "err"), daemon=True),
        threading.Thread(target=write, args=(process.stdin,), daemon=True),
    ]
    killed, whole = None, False
    try:
        for thread in threads:
            thread.start()
        with stop.calling(lambda: news.put("stopped")):
            ended = 0
            while ended < 2 and killed is None:
                remaining = limits.wall - (time.monotonic() - began)
                try:
                    said = news.get(timeout=max(0.001, remaining))
                except queue.Empty:
                    said = "wall"
                ended += said == "end"
                killed = None if said == "end" else said
        if killed is None:
            process.wait(max(1.0, limits.wall - (time.monotonic() - began)))
            whole = True
    except subprocess.TimeoutExpired:
        killed = "wall"
    finally:
        if not whole:
            process.kill()
            process.wait()
            end()
        for thread in threads:
            thread.join(0.2)
    if killed == "stopped":
        stop.check()
    code = process.returncode
    number = code - 128 if 128 < code < 160 else None
    return Execution(
        exit_code=None if killed or number else code,
        signal=None if killed else number,
        killed_for=killed,
        stdout=bytes(kept["out"]),
        stderr=bytes(kept["err"]),
        truncated=bool(cut),
        wall_seconds=time.monotonic() - began,
    )
