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
import fcntl
import functools
import gc
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator

TYPE_CHECKING = False  # what is not imported need not be copied for each box
if TYPE_CHECKING:
    from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import namespaces  # noqa: E402  (found by the line above: no package is imported here)

FIRST_LOOK, LOOK_EVERY = 0.04, 0.025  # seconds between two looks at a running box
GRACE = 0.25  # seconds from a kill until the next, harder one
_KEPT = 2.0  # seconds for which it is remembered what an ended process used
_TICKS = os.sysconf("SC_CLK_TCK")
_CHUNK = 1 << 16  # bytes read at a time
_PIPE = 1 << 20  # bytes of a pipe: what the kernel gives to anyone who asks
_OPEN_FILES = 1 << 16
_END_SECONDS = 3  # at most, to end everything
_FEW_SOCKETS = 32  # that nobody counts
_MARKER = 9  # the descriptor that a shell in the box writes to; shells know one digit only


class Run:
    """One box while it runs."""

    def __init__(
        self,
        plan: dict[str, Any],
        pid: int,
        streams: dict[int, str],
        stores: dict[str, int],
        folder: str | None,
    ) -> None:
        self.id: int = plan["id"]
        self.plan = plan
        self.pid = pid
        self.streams = streams  # descriptor of a pipe -> "out", "err", "report", "marker", "status"
        self.stores = stores  # "out", "err" -> anonymous file
        self.folder = folder  # of the bare back-end
        self.began = time.monotonic()
        self.look_at = self.began + FIRST_LOOK
        self.sizes = {"out": 0, "err": 0}
        self.notes: dict[str, bytes] = {}
        self.status: int | None = None  # wait status of the child
        self.ended: float | None = None
        self.usage = Used(0.0, 0.0, 0)
        self.seen = Sight()
        self.killed: str | None = None
        self.killed_at: float | None = None
        self.truncated = False

    @property
    def bare(self) -> bool:
        """Whether there is no box, and the child is the program itself."""
        return bool(self.plan["kind"] == "bare")


class Used:
    """What a process used, and those it waited for, as the kernel tells when it ended."""

    def __init__(self, ended: float, seconds: float, memory: int) -> None:
        self.ended, self.seconds, self.memory = ended, seconds, memory


class Sight:
    """What the warden saw of a running box."""

    def __init__(self) -> None:
        self.seconds = 0.0  # of processor time
        self.memory = 0  # bytes, the most at any look
        self.ticks = 0  # of processor time of all that run, at the last look
        self.lost = 0  # ticks of processes that ended, and that nobody waited for
        self.known: dict[int, int] = {}  # pid -> when it began, at the last look
        # Ticks and bytes of the box's first process before all that.
        self.own: tuple[int, int] | None = None


class Warden:
    """The event loop: one thread, one selector, any number of boxes."""

    def __init__(self, link: socket.socket, settings: dict[str, Any]) -> None:
        self.link = link
        self.make_folder, self.remove = settings["folders"]
        self.places: dict[str, str] = settings["places"]
        self.selector = selectors.DefaultSelector()
        self.runs: dict[int, Run] = {}  # by id
        self.living: dict[
            int, Run
        ] = {}  # by pid: a number that is free again may soon be another's
        self.orphans: dict[int, Used] = {}  # by pid: processes that came to this one, and ended
        self.strangers: dict[int, float] = {}  # children that no run knows -> since when
        self.bare_ran = False
        self.news = False  # whether a process ended, and may have left children to this one
        self.parent = os.getppid()
        self.waiting: list[tuple[dict[str, Any], list[int]]] = []
        self.slots: int = settings["slots"]
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.heard = [each for each in signal.valid_signals() if signal.getsignal(each)]
        self.selector.register(wake_read, selectors.EVENT_READ, "wake")
        self.selector.register(link, selectors.EVENT_READ, "link")

    def serve(self) -> None:
        """Work until the caller is gone."""
        try:
            while self._turn():
                pass
        finally:
            self._end_all()

    def _turn(self) -> bool:
        for key, _ in self.selector.select(self._pause()):
            if key.data == "wake":
                os.read(key.fd, 4096)
            elif key.data == "link":
                if not self._receive():
                    return False
            else:
                self._read(key.data, key.fd)
        self._reap()
        now = time.monotonic()
        for run in list(self.runs.values()):
            if run.ended is None and now >= run.look_at:
                self._look(run, now)
            self._finish(run, now)
        if self.news or self.strangers or self.bare_ran:
            self.news = False
            self._end_strangers(now)
        while self.waiting and len(self.runs) < self.slots:
            self._start(*self.waiting.pop(0))
        # Another process of the caller may hold the link open beyond the caller's end.
        return os.getppid() == self.parent

    def _pause(self) -> float | None:
        if self.waiting and len(self.runs) < self.slots:
            return 0.0
        now = time.monotonic()
        times = [GRACE / 5 if run.ended else run.look_at - now for run in self.runs.values()]
        times += [GRACE / 5] if self.strangers else []
        return max(0.0, min(times)) if times else None

    # ------------------------------------------------------------------ messages

    def _receive(self) -> bool:
        try:
            data, ancillary, flags, _ = self.link.recvmsg(
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
        if not data or not descriptors:  # without the plan there is nobody to answer
            return False
        fds = list(descriptors)
        plan = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        os.close(fds.pop(0))
        if "stop" in plan:
            if plan["stop"] in self.runs:
                self._kill(self.runs[plan["stop"]], "stopped")
            for job in [job for job in self.waiting if job[0]["id"] == plan["stop"]]:
                self.waiting.remove(job)
                _close_all(job[1])
        elif flags & socket.MSG_CTRUNC:
            _close_all(fds)
            self._answer(plan["id"], {"problem": "too many open files in the worker"}, [])
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
        _close_all((note, *stores))

    # ------------------------------------------------------------------ one run

    def _start(self, plan: dict[str, Any], fds: list[int]) -> None:
        pipes: dict[str, tuple[int, int]] = {}
        stores: dict[str, int] = {}
        folder = None
        parent = os.getpid()
        try:
            for name in ("out", "err", "report", "marker", "status"):
                pipes[name] = os.pipe()
            for name in ("out", "err"):
                _widen(pipes[name][1], plan["output"])
            stores = {name: os.memfd_create(name, os.MFD_CLOEXEC) for name in ("out", "err")}
            if plan["kind"] == "bare":
                folder = self.make_folder(prefix="box-")
                self.bare_ran = True
            pid = os.fork()
        except OSError as error:
            _close_all((*(fd for pair in pipes.values() for fd in pair), *stores.values(), *fds))
            self._answer(plan["id"], {"problem": f"no room to start a program: {error}"}, [])
            return
        if not pid:
            self._child(plan, fds, pipes, folder, parent)
        _close_all(fds)
        streams = {}
        for name, (reading, writing) in pipes.items():
            os.close(writing)
            os.set_blocking(reading, False)
            streams[reading] = name
        run = Run(plan, pid, streams, stores, folder)
        self.runs[run.id] = self.living[pid] = run
        for descriptor in streams:
            self.selector.register(descriptor, selectors.EVENT_READ, run)

    def _child(
        self, plan: dict[str, Any], fds: list[int], pipes: dict[str, tuple[int, int]],
        folder: str | None, parent: int,
    ) -> None:  # fmt: skip
        """Become the box. Never returns."""
        try:
            gc.disable()
            namespaces.die_with_parent(parent)
            _be_first_to_go()
            signal.set_wakeup_fd(-1)
            for number in self.heard:
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
            os.execve(argv[0], argv, {})
        except BaseException as error:
            os.write(2, f"sandbox: {error}\n".encode("utf-8", "backslashreplace"))
        os._exit(125)

    def _read(self, run: Run, descriptor: int) -> bool:
        """Take what a pipe holds, and tell whether there was anything."""
        name = run.streams.get(descriptor)
        if name is None:
            return False
        try:
            data = os.read(descriptor, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._close(run, descriptor)
        elif name in run.stores:
            room = run.plan["output"] - run.sizes[name]
            kept = data[:room]
            try:
                while kept:
                    kept = kept[os.write(run.stores[name], kept) :]
            except OSError:  # the machine has no memory left
                room = 0
            run.sizes[name] += min(len(data), room)
            if len(data) > room:
                run.truncated = True
                self._kill(run, "output")
        else:
            run.notes[name] = (run.notes.get(name, b"") + data)[:4096]
        return bool(data)

    def _close(self, run: Run, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        del run.streams[descriptor]

    def _reap(self) -> None:
        while True:
            try:
                # Looked at first and collected below: until then its number is nobody else's.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            self.news = True
            run = self.living.pop(found.si_pid, None)
            if run is not None and run.bare:
                _kill_group(run.pid)
            pid, status, usage = os.wait4(found.si_pid, 0)
            now = time.monotonic()
            used = Used(now, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
            self.strangers.pop(pid, None)
            if run is None:  # the first process of a box whose parent ended before it
                self.orphans = {
                    each: past for each, past in self.orphans.items() if now - past.ended < _KEPT
                }
                self.orphans[pid] = used
            else:
                run.status, run.ended, run.usage = status, now, used

    def _end_strangers(self, now: float) -> None:
        """End what came to this process when its own parent ended, unless it ends by itself.

        That is the first process of a box, on its way out; and, without a box, all that a program
        started and left behind.
        """
        found = set(_children(os.getpid())) - self.living.keys()
        bare = any(run.bare for run in self.living.values())
        self.strangers = {pid: self.strangers.get(pid, now) for pid in found}
        for pid, since in self.strangers.items():
            if now - since > GRACE or (self.bare_ran and not bare):
                _kill_tree(pid)
                _signal(pid, signal.SIGKILL)

    def _look(self, run: Run, now: float) -> None:
        """Compare a running box with its limits, and end it if it is beyond one."""
        run.look_at = now + LOOK_EVERY
        if run.killed_at is not None:
            if now - run.killed_at > GRACE:
                _kill_tree(run.pid)
                _signal(run.pid, signal.SIGKILL)
            return
        began = time.process_time()
        resident = _measure(run)
        cost = time.process_time() - began
        if run.seen.seconds >= run.plan["cpu"]:
            self._kill(run, "cpu")
        elif now - run.began >= run.plan["wall"]:
            self._kill(run, "wall")
        elif resident > run.plan["memory"]:
            self._kill(run, "memory")
        # Looking at many processes takes time, which should stay a small part of all. Time that
        # this process waits for a busy machine does not count: that is when looking matters.
        run.look_at = max(run.look_at, now + min(5 * cost, GRACE))

    def _kill(self, run: Run, reason: str) -> None:
        if run.killed_at is not None or run.ended is not None:
            return
        run.killed, run.killed_at = reason, time.monotonic()
        run.look_at = run.killed_at + GRACE
        if run.bare:
            _kill_tree(run.pid)
            _kill_group(run.pid)
        else:
            # The first process of the box, whose end is the end of all others; its parent lives
            # on for a moment and collects what it used.
            inner = _children(run.pid)
            for pid in inner:
                _signal(pid, signal.SIGKILL, run.pid)
            if not inner:
                _signal(run.pid, signal.SIGKILL)

    def _finish(self, run: Run, now: float) -> None:
        if run.ended is None:
            return
        if run.streams and now - run.ended < GRACE and set(run.streams.values()) - {"marker"}:
            return
        inner = _first_process(run.notes.get("status", b""))
        coming = inner and inner not in self.orphans and inner in _children(os.getpid())
        if coming and now - run.ended < GRACE:
            return
        for descriptor in list(run.streams):
            for _ in range(2 * _PIPE // _CHUNK):  # more than a pipe holds
                if descriptor in run.streams and not self._read(run, descriptor):
                    break
            if descriptor in run.streams:
                self._close(run, descriptor)
        if run.folder is not None:
            self.remove(run.folder, ignore_errors=True)
        del self.runs[run.id]
        seconds, memory = run.usage.seconds, run.usage.memory
        if inner in self.orphans:
            inside = self.orphans.pop(inner)
            seconds, memory = seconds + inside.seconds, inside.memory
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
                "cpu": max(seconds, run.seen.seconds),
                "wall": run.ended - run.began,
                "memory": max(memory, run.seen.memory),
                "status": run.notes.get("status", b"").decode("utf-8", "replace"),
                "reported": bool(report),
            },
            [run.stores["out"], run.stores["err"]],
        )

    def _end_all(self) -> None:
        for run in self.living.values():
            if run.bare:
                _kill_group(run.pid)
            _kill_tree(run.pid)
            _signal(run.pid, signal.SIGKILL)
        # What is left comes to this process as its own child, sooner or later.
        last = time.monotonic() + _END_SECONDS
        while time.monotonic() < last:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                break
            for pid in _children(os.getpid()):
                _kill_tree(pid)
                _signal(pid, signal.SIGKILL)
            time.sleep(0.002)
        for run in self.runs.values():
            if run.folder is not None:
                self.remove(run.folder, ignore_errors=True)


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
    namespaces.run_program(argv, env)


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _widen(pipe: int, output: int) -> None:
    """Let a pipe hold all that may be written, so that a program seldom waits for this process."""
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, min(_PIPE, output + _CHUNK))
    except OSError:  # the user's share is used up; it works with less
        pass


def _be_first_to_go() -> None:
    """If the machine runs out of memory, let the kernel end this process before any other."""
    try:
        namespaces.write("/proc/self/oom_score_adj", "1000")
    except OSError:
        pass


# ---------------------------------------------------------------------------- looking at a box


def _children(pid: int) -> list[int]:
    """The children of a process, those that ended and were not waited for among them."""
    if not _LISTED:
        return [child for child, parent in _parents().items() if parent == pid]
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except (OSError, ValueError):
        pass
    return found


def _parents() -> dict[int, int]:
    """Every process of the machine that can be seen -> its parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields:
                found[int(name)] = int(fields[1])
    return found


_LISTED = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # few kernels lack it


def _tree(pid: int) -> Iterator[int]:
    """A process and every one below it, the outermost first."""
    waiting, met = [pid], {pid}
    while waiting:
        current = waiting.pop()
        yield current
        below = [child for child in _children(current) if child not in met]
        met.update(below)
        waiting += below


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before them is the program's to choose, brackets and all.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _measure(run: Run) -> int:
    """Note the processor time of a box so far, and return the bytes of memory it holds now."""
    first = run.pid
    if not run.bare:
        if not run.notes.get("marker"):
            return 0  # still being built
        first = next(iter(_children(run.pid)), 0)
    sight = run.seen
    processes = dict.fromkeys([*_tree(first), *sight.known] if first else [])
    known: dict[int, int] = {}
    ticks, resident, extra, some = 0, 0, 0, 0
    for pid in processes:
        fields = _stat(pid)
        if len(fields) < 20 or sight.known.get(pid, int(fields[19])) != int(fields[19]):
            continue  # it ended, and the number may be another's by now
        known[pid] = int(fields[19])
        own, below = (sum(map(int, fields[at : at + 2])) for at in (11, 13))
        memory = _memory(pid)
        if pid == first and not run.bare:  # the sandbox's own, as far as it was there before
            sight.own = sight.own or (own, memory)
            own, memory = max(0, own - sight.own[0]), max(0, memory - sight.own[1])
            extra = memory
        else:
            some = pid
        ticks += own + below
        resident += memory
    # The time of a process goes to the one that waits for it. If none does, the sum falls.
    if sight.ticks - ticks > 1:
        sight.lost += sight.ticks - ticks
    sight.known, sight.ticks = known, ticks
    sight.seconds = max(sight.seconds, (ticks + sight.lost) / _TICKS)
    if resident > run.plan["memory"]:  # or is it the same memory, seen from many processes?
        inside = (pid for pid in known if pid != first or run.bare)
        resident = min(resident, extra + sum(map(_share, inside)))
    if some and not run.bare:
        resident += _sockets(some, run) + _inodes(some, run)
    sight.memory = max(sight.memory, resident)
    return resident


_OWN_MEMORY = (b"RssAnon:", b"RssShmem:", b"VmSwap:", b"HugetlbPages:", b"VmPTE:")


def _memory(pid: int) -> int:
    """Bytes of a process that are not a file's, and of the tables that say where they lie."""
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(_OWN_MEMORY):
                    total += int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return total


_SHARES = (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")


def _share(pid: int) -> int:
    """What `_memory` counts, with memory that several processes share divided among them."""
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith((b"VmPTE:", b"HugetlbPages:")):
                    total += int(line.split()[1]) * 1024
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            rows = [line.split() for line in file if line.startswith(_SHARES)]
    except (OSError, ValueError, IndexError):
        rows = []
    return total + sum(int(row[1]) * 1024 for row in rows) if rows else _memory(pid)


def _sockets(pid: int, run: Run) -> int:
    """The most that can wait in the box's sockets: it is the kernel's memory, and nobody's."""
    if "network" in run.plan["without"]:
        return 0
    try:
        with open(f"/proc/{pid}/net/sockstat", "rb") as file:
            number = int(file.readline().split()[2])
    except (OSError, ValueError, IndexError):
        return 0
    return max(0, number - _FEW_SOCKETS) * _socket_bytes()


@functools.cache
def _socket_bytes() -> int:
    try:
        with open("/proc/sys/net/core/wmem_default", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 212_992


def _inodes(pid: int, run: Run) -> int:
    """The memory limit if there are too many files in the box, which take the kernel's memory.

    A box that was built with a limit of its own never has that many.
    """
    if "limit space" in run.plan["without"]:
        return 0
    for place in ("box", "tmp", "dev/shm"):
        try:
            found = os.statvfs(f"/proc/{pid}/root/{place}")
        except OSError:
            continue
        if found.f_files - found.f_ffree > namespaces.INODES:
            return int(run.plan["memory"])
    return 0


def _signal(pid: int, number: int, parent: int = 0) -> None:
    """Send a signal; if ``parent`` is given, only to a child of it.

    A number that was read may be another process's by now. A descriptor cannot become another's.
    """
    try:
        if not parent:
            os.kill(pid, number)
            return
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        fields = _stat(pid)
        if fields and int(fields[1]) == parent:
            signal.pidfd_send_signal(descriptor, number)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _kill_tree(pid: int) -> None:
    """End everything below a process."""
    for parent in list(_tree(pid)):
        for child in _children(parent):
            _signal(child, signal.SIGKILL, parent)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass


def main() -> None:
    """Take the socket and the settings from the command line, give up root, and serve."""
    link = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    settings["places"], settings["folders"] = {}, (None, None)
    if settings["bare"]:  # while Python's own library can be read
        import shutil
        import tempfile

        settings["folders"] = tempfile.mkdtemp, shutil.rmtree
    if os.getuid() == 0:
        settings["places"] = namespaces.bind_private(settings["private"])
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    os.chdir("/")
    namespaces.not_inspectable()
    namespaces.adopt_orphans()  # to learn what a box used whose outer process ended first
    os.umask(0o077)
    gc.freeze()  # what is there by now is never looked at again, and stays shared with children
    link.sendmsg([b"ready"])
    Warden(link, settings).serve()


if __name__ == "__main__":
    main()
