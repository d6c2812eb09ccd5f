"""The caller's end of the warden, and the supervision of a process without one (Docker)."""

from __future__ import annotations

import array
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from .records import Execution, Limits, SandboxError

Answer = tuple[dict[str, Any], bytes, bytes]
_WARDEN = Path(__file__).with_name("warden.py")
_START_SECONDS = 30


class Pool:
    """Boxes side by side: started by one warden, at most ``slots`` at a time.

    Safe to use from several threads. The warden starts with the first run. If it dies, the runs
    under way fail with `SandboxError` and the next run starts another one.
    """

    def __init__(self, private: Sequence[str], slots: int) -> None:
        self._settings = {"private": list(private), "slots": slots}
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, Future[Answer]] = {}
        self._next = 0
        self._closed = False
        self._owner = os.getpid()

    def run(self, plan: dict[str, Any], stdin: bytes, files: Sequence[bytes]) -> Answer:
        """Run one plan; see `helpers.sandbox.warden`.

        Returns
        -------
        The warden's answer, stdout and stderr

        Raises
        ------
        SandboxError : if the warden cannot start, or died
        """
        future: Future[Answer] = Future()
        with self._lock:
            if self._closed:
                raise SandboxError("The sandbox is closed: make a new one.")
            if self._link is None or self._owner != os.getpid():
                self._start()
            number = self._next
            self._next += 1
            self._waiting[number] = future
            try:
                self._send({"id": number, **plan}, [stdin, *files])
            except OSError as error:
                self._waiting.pop(number, None)
                raise SandboxError(f"The sandbox's worker does not take work: {error}.") from None
        try:
            return future.result()
        except BaseException:
            with self._lock, suppress(OSError):
                if self._waiting.pop(number, None) is not None and self._link is not None:
                    self._send({"stop": number}, [])
            raise

    def close(self) -> None:
        """End the warden and every box; further calls do nothing."""
        with self._lock:
            self._closed = True
            link, process = self._link, self._process
            self._link = self._process = None
        if link is not None:
            _end(link, process)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-S", "-B", str(_WARDEN)]
        self._said = os.memfd_create("warden", os.MFD_CLOEXEC)  # its last words, if it fails
        with theirs:
            try:
                process = subprocess.Popen(
                    [*command, str(theirs.fileno()), json.dumps(self._settings)],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True,
                    env={}, cwd="/",
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise SandboxError(f"The sandbox's worker cannot start: {error}.") from None
        ours.settimeout(_START_SECONDS)
        try:
            ready = ours.recv(16)
        except OSError:
            ready = b""
        if not ready:
            _end(ours, process)
            raise SandboxError(f"The sandbox's worker cannot start: {_last_words(self._said)}.")
        ours.settimeout(None)
        self._link, self._process, self._owner = ours, process, os.getpid()
        self._waiting = {}
        weakref.finalize(self, _end, ours, process)
        threading.Thread(
            target=_listen, args=(ours, self._waiting, weakref.ref(self), self._said),
            daemon=True, name="sandbox",
        ).start()  # fmt: skip

    def _send(self, plan: dict[str, Any], contents: Sequence[bytes]) -> None:
        assert self._link is not None
        descriptors = []
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
                _end(link, self._process)
                self._link = self._process = None


def _sealed(content: bytes) -> int:
    """Return an anonymous file that nobody can change any more, positioned at its start."""
    import fcntl

    descriptor = os.memfd_create("box", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0x000F)  # no writing, growing, shrinking, sealing
    return descriptor


def _last_words(descriptor: int) -> str:
    """The last line of what the warden wrote to its stderr; closes the descriptor."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        said = file.read().decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else "no message"


def _listen(link: socket.socket, waiting: dict[int, Future[Answer]], pool: Any, said: int) -> None:
    while True:
        descriptors = array.array("i")
        try:
            data, ancillary, _, _ = link.recvmsg(16, socket.CMSG_LEN(3 * 4))
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % 4])
        if not data:
            break
        contents = []
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                contents.append(file.read())
        answer = json.loads(contents[0])
        future = waiting.pop(answer["id"], None)
        if future is not None:
            out, err = contents[1:] if len(contents) == 3 else (b"", b"")
            future.set_result((answer, out, err))
    owner = pool()
    if owner is not None:
        owner._lost(link)
    words = _last_words(said)
    for number in list(waiting):
        future = waiting.pop(number, None)
        if future is not None:
            future.set_exception(
                SandboxError(f"The sandbox's worker ended ({words}): run the program again.")
            )


def _end(link: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()
    if process is not None:
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
    failed: Sequence[int] = (),
) -> Execution:
    """Run a command of this machine under a clock and a cap on its output.

    Parameters
    ----------
    end : called when a limit is passed, to end what the command started elsewhere
    failed : exit codes with which the command says that it could not start the program
    """
    began = time.monotonic()
    kept = {"out": b"", "err": b""}
    killed, truncated = None, False
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    with process, selectors.DefaultSelector() as selector:
        for pipe in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(pipe.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE, "in")
        selector.register(process.stdout, selectors.EVENT_READ, "out")
        selector.register(process.stderr, selectors.EVENT_READ, "err")
        left = memoryview(stdin)
        while selector.get_map():
            remaining = limits.wall - (time.monotonic() - began)
            if remaining <= 0 and not killed:
                killed = "wall"
            if killed:
                end()
                process.kill()
                break
            for key, _ in selector.select(max(0.01, remaining)):
                if key.data == "in":
                    try:
                        left = left[os.write(key.fd, left[: 1 << 16]) :]
                    except BlockingIOError:
                        continue
                    except OSError:
                        left = left[:0]
                    if not left:
                        selector.unregister(key.fileobj)
                        process.stdin.close()
                    continue
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                room = limits.output_bytes - len(kept[key.data])
                kept[key.data] += data[:room]
                if len(data) > room:
                    truncated, killed = True, "output"
        with suppress(BrokenPipeError):
            process.stdin.close()
    code: int | None = process.returncode
    problem = ""
    if not killed and code in failed:
        said = kept["err"].decode("utf-8", "replace").strip().splitlines()
        problem, code = (said[-1] if said else f"{command[0]} failed"), None
    number = code - 128 if code is not None and 128 < code < 160 else None
    return Execution(
        exit_code=None if killed or number else code,
        signal=None if killed else number,
        killed_for=killed,
        stdout=kept["out"],
        stderr=kept["err"],
        truncated=truncated,
        wall_seconds=time.monotonic() - began,
        problem=problem,
    )
