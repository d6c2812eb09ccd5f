"""The warden: a small process that starts, watches and ends the boxes.

It is a process of its own for three reasons. A start costs little, since it has little memory to
copy; the caller may have gigabytes, and threads. The memory it reports is the program's, not the
caller's. And it gives up root before the first untrusted program starts; from then on it may not
be able to read Python's own library, so everything is imported before.

`helpers.sandbox.engine` starts it as ``python -I -S warden.py SOCKET SETTINGS`` and sends one
message for each run; it answers each with one message. Both carry JSON in an anonymous file, and
further descriptors beside it. It ends, and ends its boxes, when the caller's socket closes.
Only the standard library is imported.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import namespaces  # noqa: E402  (found by the line above: no package is imported here)

FIRST_LOOK, LOOK_EVERY = 0.02, 0.025  # seconds between two looks at a running box
GRACE = 0.25  # seconds from a kill until the next, harder one
_TICKS = os.sysconf("SC_CLK_TCK")
_MARKER = 9  # the descriptor that a shell in the box writes to; shells know one digit only


@dataclass
class Run:
    """One box while it runs."""

    id: int
    plan: dict[str, Any]
    pid: int
    streams: dict[int, str]  # descriptor of a pipe -> "out", "err", "report", "marker", "status"
    stores: dict[str, int]  # "out", "err" -> anonymous file
    began: float
    look_at: float
    sizes: dict[str, int] = field(default_factory=lambda: {"out": 0, "err": 0})
    notes: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None  # wait status of the child
    ended: float | None = None
    usage: tuple[float, int] = (0.0, 0)  # seconds, bytes: from wait4
    seen: tuple[float, int] = (0.0, 0)  # seconds, bytes: from looking
    killed: str | None = None
    killed_at: float | None = None
    truncated: bool = False
    folder: str | None = None  # of the bare back-end


class Warden:
    """The event loop: one thread, one selector, any number of boxes."""

    def __init__(self, link: socket.socket, settings: dict[str, Any]) -> None:
        self.link = link
        self.places: dict[str, str] = settings["places"]
        self.selector = selectors.DefaultSelector()
        self.runs: dict[int, Run] = {}  # by pid
        self.orphans: dict[int, tuple[float, int]] = {}  # seconds, bytes of ended processes
        self.waiting: list[tuple[dict[str, Any], list[int]]] = []
        self.slots: int = settings["slots"]
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake_read, selectors.EVENT_READ, "wake")
        self.selector.register(link, selectors.EVENT_READ, "link")
        self.own = {wake_read, wake_write, link.fileno()}

    def serve(self) -> None:
        """Work until the caller is gone."""
        while True:
            for key, _ in self.selector.select(self._pause()):
                if key.data == "wake":
                    os.read(key.fd, 4096)
                elif key.data == "link":
                    if not self._receive():
                        self._end_all()
                        return
                else:
                    self._read(key.data, key.fd)
            self._reap()
            now = time.monotonic()
            for run in list(self.runs.values()):
                if run.ended is None and now >= run.look_at:
                    self._look(run, now)
                self._finish(run, now)
            while self.waiting and len(self.runs) < self.slots:
                self._start(*self.waiting.pop(0))

    def _pause(self) -> float | None:
        if self.waiting and len(self.runs) < self.slots:
            return 0.0
        if not self.runs:
            return None
        now = time.monotonic()
        return max(
            0.0,
            min(
                (GRACE / 5 if run.ended is not None else run.look_at - now)
                for run in self.runs.values()
            ),
        )

    # ------------------------------------------------------------------ messages

    def _receive(self) -> bool:
        try:
            data, ancillary, _, _ = self.link.recvmsg(
                16, socket.CMSG_LEN(253 * 4), socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % 4])
        if not data:
            return False
        fds = list(descriptors)
        plan = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        os.close(fds.pop(0))
        if "stop" in plan:
            for run in self.runs.values():
                if run.id == plan["stop"]:
                    self._kill(run, "stopped")
            self.waiting = [job for job in self.waiting if job[0]["id"] != plan["stop"]]
        else:
            self.waiting.append((plan, fds))
        return True

    def _answer(self, run_id: int, answer: dict[str, Any], stores: list[int]) -> None:
        note = os.memfd_create("answer", os.MFD_CLOEXEC)
        os.write(note, json.dumps({"id": run_id, **answer}).encode())
        rights = array.array("i", [note, *stores])
        try:
            self.link.sendmsg([b"answer"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:
            pass  # the caller is gone: the next read of the link ends everything
        for descriptor in (note, *stores):
            os.close(descriptor)

    # ------------------------------------------------------------------ one run

    def _start(self, plan: dict[str, Any], fds: list[int]) -> None:
        pipes: dict[str, tuple[int, int]] = {}
        stores: dict[str, int] = {}
        folder = None
        try:
            for name in ("out", "err", "report", "marker", "status"):
                pipes[name] = os.pipe()
            stores = {name: os.memfd_create(name, os.MFD_CLOEXEC) for name in ("out", "err")}
            if plan["kind"] == "bare":
                folder = tempfile.mkdtemp(prefix="box-")
            pid = os.fork()
        except OSError as error:
            for descriptor in (*(fd for pair in pipes.values() for fd in pair), *stores.values()):
                os.close(descriptor)
            for descriptor in fds:
                os.close(descriptor)
            self._answer(plan["id"], {"problem": f"no room to start a program: {error}"}, [])
            return
        if not pid:
            self._child(plan, fds, pipes, folder)
        for descriptor in fds:
            os.close(descriptor)
        streams = {}
        for name, (reading, writing) in pipes.items():
            os.close(writing)
            os.set_blocking(reading, False)
            streams[reading] = name
        now = time.monotonic()
        run = Run(plan["id"], plan, pid, streams, stores, now, now + FIRST_LOOK, folder=folder)
        self.runs[pid] = run
        for descriptor in streams:
            self.selector.register(descriptor, selectors.EVENT_READ, run)

    def _child(
        self, plan: dict[str, Any], fds: list[int], pipes: dict[str, tuple[int, int]],
        folder: str | None,
    ) -> None:  # fmt: skip
        """Become the box. Never returns."""
        try:
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            os.dup2(fds[0], 0)
            os.dup2(pipes["out"][1], 1)
            os.dup2(pipes["err"][1], 2)
            writers = [pipes[name][1] for name in ("report", "marker", "status")]
            # Move what is still needed above 20, so that the low numbers are free.
            moved = [_above(fd) for fd in (*writers, *fds[1:])]
            report, marker, status = moved[:3]
            files = dict(zip(plan["names"], moved[3:], strict=False))
            extra = moved[3 + len(plan["names"]) :]
            os.closerange(3, 20)
            _close_all_but(moved)
            if plan["kind"] == "namespaces":
                for bind in plan["binds"]:
                    bind[0] = self.places.get(bind[0], bind[0])
                namespaces.enter(plan, files, report, marker)
            if plan["kind"] == "bare":
                for folder_, place in self.places.items():
                    if plan["argv"][0].startswith(folder_ + "/"):
                        plan["argv"][0] = place + plan["argv"][0][len(folder_) :]
                _bare(plan, files, marker, str(folder))
            named = {f"file:{name}": fd for name, fd in files.items()}
            named |= {f"extra:{number}": fd for number, fd in enumerate(extra)}
            named["status"] = status
            argv = []
            for part in plan["argv"]:
                if isinstance(part, list):  # ["fd", name] or ["place", folder]
                    kind, name = part
                    part = str(named[name]) if kind == "fd" else self.places.get(name, name)
                argv.append(part)
            for descriptor in (*files.values(), *extra, status):
                os.set_inheritable(descriptor, True)
            os.dup2(marker, _MARKER)
            namespaces.set_limits(plan["rlimits"])
            namespaces.die_with_parent()
            os.execve(argv[0], argv, {})
        except BaseException as error:
            os.write(2, f"sandbox: {error}\n".encode())
        os._exit(125)

    def _read(self, run: Run, descriptor: int) -> None:
        name = run.streams.get(descriptor)
        if name is None:
            return
        try:
            data = os.read(descriptor, 1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._close(run, descriptor)
        elif name in run.stores:
            room = run.plan["output"] - run.sizes[name]
            kept = data[:room]
            while kept:
                kept = kept[os.write(run.stores[name], kept) :]
            run.sizes[name] += min(len(data), max(room, 0))
            if len(data) > room:
                run.truncated = True
                self._kill(run, "output")
        else:
            run.notes[name] = (run.notes.get(name, b"") + data)[:4096]

    def _close(self, run: Run, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        del run.streams[descriptor]

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            run = self.runs.get(pid)
            used = (usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
            if run is None:  # the first process of a box whose parent ended before it
                self.orphans[pid] = used
                while len(self.orphans) > 1000:
                    del self.orphans[next(iter(self.orphans))]
            else:
                run.status, run.ended, run.usage = status, time.monotonic(), used
                if run.plan["kind"] == "bare":
                    _kill_group(pid)

    def _look(self, run: Run, now: float) -> None:
        """Compare a running box with its limits, and end it if it is beyond one."""
        run.look_at = now + LOOK_EVERY
        if run.killed_at is not None:
            if now - run.killed_at > GRACE:
                _kill_tree(run.pid)
                _signal(run.pid, signal.SIGKILL)
            return
        seconds, resident = _measure(run.pid)
        run.seen = (max(run.seen[0], seconds), max(run.seen[1], resident))
        if seconds >= run.plan["cpu"]:
            self._kill(run, "cpu")
        elif now - run.began >= run.plan["wall"]:
            self._kill(run, "wall")
        elif resident > run.plan["memory"]:
            self._kill(run, "memory")

    def _kill(self, run: Run, reason: str) -> None:
        if run.killed_at is not None or run.ended is not None:
            return
        run.killed, run.killed_at = reason, time.monotonic()
        run.look_at = run.killed_at + GRACE
        if run.plan["kind"] == "bare":
            _kill_tree(run.pid)
            _kill_group(run.pid)
        else:
            # The first process of the box, whose end is the end of all others; its parent lives
            # on for a moment and collects what it used.
            inner = _children(run.pid)
            for pid in inner:
                _signal(pid, signal.SIGKILL)
            if not inner:
                _signal(run.pid, signal.SIGKILL)

    def _finish(self, run: Run, now: float) -> None:
        if run.ended is None:
            return
        if run.streams and now - run.ended < GRACE and set(run.streams.values()) - {"marker"}:
            return
        inner = _first_process(run.notes.get("status", b""))
        if inner and inner not in self.orphans and now - run.ended < GRACE:
            return
        for descriptor in list(run.streams):
            self._read(run, descriptor)
            if descriptor in run.streams:
                self._close(run, descriptor)
        if run.folder is not None:
            shutil.rmtree(run.folder, ignore_errors=True)
        del self.runs[run.pid]
        seconds, memory = run.usage
        if inner in self.orphans:
            inside = self.orphans.pop(inner)
            seconds, memory = seconds + inside[0], inside[1]
        status = run.status
        report = run.notes.get("report", b"")
        if len(report) == struct.calcsize("=idq"):  # the box's own first process counted
            status, seconds, peak = struct.unpack("=idq", report)
            memory = peak * 1024
        self._answer(
            run.id,
            {
                "code": os.waitstatus_to_exitcode(status) if status is not None else 125,
                "started": run.notes.get("marker", b"0")[-1:] != b"0",
                "killed": run.killed,
                "truncated": run.truncated,
                "cpu": max(seconds, run.seen[0]),
                "wall": run.ended - run.began,
                "memory": memory,
                "status": run.notes.get("status", b"").decode("utf-8", "replace"),
                "reported": bool(report),
            },
            [run.stores["out"], run.stores["err"]],
        )

    def _end_all(self) -> None:
        for run in self.runs.values():
            if run.plan["kind"] == "bare":
                _kill_group(run.pid)
            _kill_tree(run.pid)
            _signal(run.pid, signal.SIGKILL)
        for run in self.runs.values():
            if run.ended is None:
                try:
                    os.waitpid(run.pid, 0)
                except ChildProcessError:
                    pass
            if run.folder is not None:
                shutil.rmtree(run.folder, ignore_errors=True)


def _first_process(note: bytes) -> int:
    """The number of the box's first process, which bwrap tells at its start; 0 if it did not."""
    for line in note.splitlines():
        try:
            return int(json.loads(line).get("child-pid", 0))
        except (ValueError, TypeError, AttributeError):
            continue
    return 0


def _above(descriptor: int) -> int:
    """Duplicate a descriptor to a number above 20; it closes when another program starts."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)


def _close_all_but(kept: list[int]) -> None:
    edge = 20
    for descriptor in sorted(kept):
        os.closerange(edge, descriptor)
        edge = descriptor + 1
    os.closerange(edge, 1 << 16)


def _bare(plan: dict[str, Any], files: dict[str, int], marker: int, folder: str) -> None:
    """Run with resource limits only. The back-end that calls this is named unsafe."""
    for name, descriptor in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        namespaces.copy(descriptor, path)
    os.chdir(folder)
    namespaces.set_limits(plan["rlimits"])
    env = {
        name: folder if value in ("/box", "/tmp") else value.replace("/box/", f"{folder}/")
        for name, value in plan["env"].items()
    }
    argv = [part.replace("/box/", f"{folder}/") for part in plan["argv"]]
    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
    os.write(marker, b"1")
    try:
        os.execve(argv[0], argv, env)
    except OSError:
        os.write(marker, b"0")
        raise


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except (OSError, ValueError):
        pass
    return found


def _tree(pid: int) -> Iterator[int]:
    """Every process of the box, the outermost first."""
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += _children(current)


def _measure(pid: int) -> tuple[float, int]:
    """Return seconds of processor time and resident bytes of a process and all below it."""
    ticks, resident = 0, 0
    for process in _tree(pid):
        try:
            with open(f"/proc/{process}/stat", "rb") as file:
                ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
            with open(f"/proc/{process}/status", "rb") as file:
                for line in file:
                    if line.startswith((b"RssAnon:", b"RssShmem:")):
                        resident += int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError):
            continue
    return ticks / _TICKS, resident


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _kill_tree(pid: int) -> None:
    for process in list(_tree(pid))[1:]:
        _signal(process, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EPERM):
            raise


def main() -> None:
    """Take the socket and the settings from the command line, give up root, and serve."""
    link = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    settings["places"] = {}
    if os.getuid() == 0:
        settings["places"] = namespaces.bind_private(settings["private"])
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    os.chdir("/")
    namespaces.not_inspectable()
    namespaces.adopt_orphans()  # to learn what a box used whose outer process ended first
    os.umask(0o077)
    link.sendmsg([b"ready"])
    Warden(link, settings).serve()


if __name__ == "__main__":
    main()
