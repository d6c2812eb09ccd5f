"""The ways to build a box, weakest last, behind one protocol; and the probe that tests them.

A back-end is trusted only after a probe has run in it: a program that tries to reach the network,
to write outside its folder, to read a file of the user, to start too many processes and to take
too much memory.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from helpers.project import UsageError, suggest

from . import seccomp
from .records import MIB, Execution, Limits, NotAvailable, SandboxError

if TYPE_CHECKING:
    from .pool import Stop

NAMES = ("bwrap", "unshare", "docker", "rlimits")
PATH = "/usr/local/bin:/usr/bin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/box", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
_TEXTS = {
    "/etc/passwd": "box:x:65534:65534:box:/box:/bin/sh\n",
    "/etc/group": "box:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
}
MAX_FILES = 200  # in a box at its start
_ETC = ("/etc/alternatives", "/etc/ld.so.cache")
_SYSTEM_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SIGKILL, _SIGXCPU = 9, 24  # of Linux, whatever this machine runs
# Signals that end a program which went wrong or met a limit. bwrap tells of a signal as a shell
# does, by an exit status of 128 more, which a program may also have chosen itself.
_ENDING = frozenset({4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 24, 25, 31})
_DEVICES = ("null", "zero", "full", "random", "urandom")
# What /proc tells of the machine and not of the box: how it was started, what hangs on it, where
# its kernel lies. Nothing of it is of use to a program.
_MASKED_FILES = (
    "cmdline", "config.gz", "diskstats", "interrupts", "iomem", "ioports", "kallsyms", "key-users",
    "keys", "modules", "partitions", "sched_debug", "swaps", "timer_list",
)  # fmt: skip
# The box's first process belongs to the sandbox, and is not there to be looked at, or written to.
_MASKED_FOLDERS = ("1", "acpi", "asound", "bus", "driver", "fs", "irq", "scsi")
# What a test may take away, to see that an attack then succeeds; and each entry of the filter.
WITHOUT = (
    "user", "ipc", "processes", "network", "host name", "cgroup", "files", "root", "rights",
    "filter", "masks", "limit CPU", "limit FSIZE", "limit AS", "limit NOFILE", "limit NPROC",
    "limit SIGPENDING", "limit CORE", "limit space", "limit wall", "limit output", "watch CPU",
    "watch memory",
    *seccomp.RULES, *seccomp.DENIED,
)  # fmt: skip
_OLDEST_BWRAP = (0, 8, 0)  # the first with --size, --disable-userns and --remount-ro together


@dataclass(frozen=True)
class Job:
    """One program to run in a box of its own.

    Attributes
    ----------
    argv : the program, absolute or on ``PATH``, and its arguments
    files : name under /box -> content
    stdin : what it reads
    env : further variables; the box has those of ``ENVIRONMENT`` and no other
    limits : what it may use
    address_space : whether to enforce the memory limit by the kernel's limit on addresses, too;
        run times that reserve much more than they use (Java, Node, Go) cannot work under it
    mounts : folders or files of this machine to show in the box, read-only, at the same path; a
        program can talk to whoever listens on a socket or a named pipe in them
    """

    argv: Sequence[str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    address_space: bool = True
    mounts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.argv:
            raise UsageError("Name a program to run: argv is empty.")
        for part in (*self.argv, *self.env, *self.env.values()):
            if not isinstance(part, str) or "\0" in part or not _encodable(part):
                raise UsageError(
                    "An argument or a variable holds a NUL byte or half a letter, or is not text."
                )
        for variable in self.env:
            if not variable or "=" in variable:
                raise UsageError(f"A variable is named {variable[:40]!r}: give a plain name.")
        for name in self.files:
            safe_name(name)
        if len(self.files) > MAX_FILES:
            raise UsageError(f"{len(self.files)} files: give at most {MAX_FILES}.")
        if sum(map(len, self.files.values())) > self.limits.file_bytes:
            raise UsageError(
                f"The files have more than {self.limits.file_bytes} bytes: "
                "give less, or a larger limit file_bytes."
            )


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def safe_name(name: str) -> str:
    """Return a file name that stays inside the box's folder.

    Raises
    ------
    UsageError : if it is absolute, climbs up, is empty, too long, or holds what names do not hold
    """
    parts = name.split("/") if isinstance(name, str) else []
    good = parts and all(part not in ("", ".", "..") and len(part) < 200 for part in parts)
    if not good or len(name) > 1000 or any(not c.isprintable() or c == "\\" for c in name):
        raise UsageError(f"File name {str(name)[:60]!r}: give a plain relative name.")
    return name


class Backend(Protocol):
    """A way to build a box."""

    name: str
    safe: bool  # whether it may be chosen without being asked for by name

    def problem(self) -> str | None:
        """Return why it cannot work here, and what to do; None if it may."""

    def run(self, job: Job, stop: Stop | None = None) -> Execution:
        """Run a job to its end, or until ``stop`` is set."""

    def close(self) -> None:
        """End what it started."""


class Linux:
    """What the three back-ends on the warden share; see `helpers.sandbox.warden`."""

    name = ""
    safe = True
    shell_limit = "u"  # the letter of the shell's ulimit for processes

    def __init__(
        self, mounts: Sequence[str] = (), workers: int | None = None, without: Sequence[str] = ()
    ) -> None:
        from .pool import Pool

        self.mounts = tuple(dict.fromkeys(mounts))
        for wall in without:  # only tests set it; a wrong name would leave a test empty
            if wall not in WITHOUT:
                raise UsageError(f"Unknown wall {wall!r}.{suggest(wall, list(WITHOUT))}")
        self.without = tuple(without)
        private = [place for place in self.mounts if os.getuid() == 0 and not _public(place)]
        self.pool = Pool(private, workers or os.cpu_count() or 1, bare=not self.safe)

    def problem(self) -> str | None:
        if sys.platform != "linux":
            return "it needs Linux; install Docker, which runs one"
        if not seccomp.supported():
            return "it has no filter for this processor; install Docker"
        return None

    def run(self, job: Job, stop: Stop | None = None) -> Execution:
        plan, files = self.plan(job)
        answer, out, err = self.pool.run(plan, job.stdin, files, stop)
        return self._execution(answer, out, err, job.limits)

    def close(self) -> None:
        self.pool.close()

    def plan(self, job: Job) -> tuple[dict[str, Any], list[bytes]]:
        raise NotImplementedError

    def _base(self, job: Job, kind: str) -> dict[str, Any]:
        limits = job.limits
        unknown = [place for place in job.mounts if place not in self.mounts and not _public(place)]
        if unknown and os.getuid() == 0:
            raise UsageError(
                f"{unknown[0]} can be read by its owner only: name it when the sandbox is made, "
                "Sandbox(mounts=[…]), or make it readable."
            )
        rlimits = {
            "CPU": math.ceil(limits.cpu_seconds) + 1,
            "FSIZE": limits.file_bytes,
            "NOFILE": limits.open_files,
            # Not 0: with 0 the machine's collector of crashes, if it has one, is still started.
            "CORE": 1,
            "MEMLOCK": 64 << 10,
            "MSGQUEUE": 0,
            "SIGPENDING": 1024,
            "RTPRIO": 0,
            "NICE": 0,
        }
        if job.address_space:
            rlimits["AS"] = limits.memory_bytes
        rlimits = {
            name: value for name, value in rlimits.items() if f"limit {name}" not in self.without
        }
        return {
            "kind": kind,
            "env": ENVIRONMENT | dict(job.env),
            "names": list(job.files),
            "rlimits": rlimits,
            "cpu": 1e9 if "watch CPU" in self.without else limits.cpu_seconds,
            "wall": 1e9 if "limit wall" in self.without else limits.wall,
            "memory": 1 << 62 if "watch memory" in self.without else limits.memory_bytes,
            "output": 1 << 30 if "limit output" in self.without else limits.output_bytes,
            "without": list(self.without),
        }

    def _execution(
        self, answer: dict[str, Any], out: bytes, err: bytes, limits: Limits
    ) -> Execution:
        killed = answer.get("killed")
        problem = answer.get("problem", "")
        if not problem and not answer["started"] and not killed:
            said = err.decode("utf-8", "replace").strip().splitlines()
            problem = said[-1] if said else "the box could not be built"
        if problem:
            return Execution(None, problem=problem, stderr=err)
        code: int | None = answer["code"]
        seconds = answer["cpu"]
        if not killed and seconds >= limits.cpu_seconds and "watch CPU" not in self.without:
            killed = "cpu"
        number = None
        if code is not None and code < 0:
            number, code = -code, None
        elif code is not None and code - 128 in _ENDING and self.name == "bwrap":
            number, code = code - 128, None
        return Execution(
            exit_code=None if killed else code,
            signal=None if killed else number,
            killed_for=killed,
            stdout=out,
            stderr=err,
            truncated=answer["truncated"],
            cpu_seconds=seconds,
            wall_seconds=answer["wall"],
            memory_bytes=answer["memory"],
        )

    @cached_property
    def _filter(self) -> bytes:
        return b"" if "filter" in self.without else seccomp.build(self.without)

    def _view(self, job: Job) -> tuple[list[str], list[tuple[str, str]]]:
        """What the box sees of the machine: folders and files, and links (target, path)."""
        shown, links = _system()
        return list(dict.fromkeys([*shown, *self.mounts, *job.mounts])), links


class Bubblewrap(Linux):
    """bwrap, the sandbox of Flatpak: name spaces set up by a program made for it."""

    name = "bwrap"

    def problem(self) -> str | None:
        missing = super().problem()
        if missing:
            return missing
        program = shutil.which("bwrap", path=PATH)
        if program is None:
            return "install bubblewrap (Debian, Ubuntu, Fedora: the package bubblewrap)"
        version = _bwrap_version(program)
        if version < _OLDEST_BWRAP:
            found, needed = (".".join(map(str, v)) for v in (version, _OLDEST_BWRAP))
            return f"bubblewrap {found} is too old; install {needed} or later"
        return None

    def plan(self, job: Job) -> tuple[dict[str, Any], list[bytes]]:
        plan = self._base(job, "exec")
        walls = {
            "user": ["--unshare-user", "--disable-userns"],
            "ipc": ["--unshare-ipc"],
            "processes": ["--unshare-pid"],
            "network": ["--unshare-net"],
            "host name": ["--unshare-uts", "--hostname", "box"],
            "cgroup": ["--unshare-cgroup-try"],
        }
        argv: list[Any] = [str(shutil.which("bwrap", path=PATH))]
        for wall, options in walls.items():
            argv += [] if wall in self.without else options
        if "user" in self.without:
            argv += ["--unshare-user"]
        argv += ["--uid", "65534", "--gid", "65534", "--die-with-parent", "--new-session"]
        argv += ["--cap-add" if "rights" in self.without else "--cap-drop", "ALL", "--clearenv"]
        for name, value in plan["env"].items():
            argv += ["--setenv", name, value]
        shown, links = self._view(job)
        bind = "--bind" if "files" in self.without else "--ro-bind"
        inside = ("/tmp/", "/box/")  # these come after the box's own folders are mounted
        late = [place for place in shown if place.startswith(inside)]
        for place in shown:
            argv += [] if place in late else [bind, ["place", place], place]
        for target, path in links:
            argv += ["--symlink", target, path]
        contents = list(job.files.values())
        for number, (path, text) in enumerate(_TEXTS.items()):
            argv += ["--ro-bind-data", ["fd", f"extra:{number}"], path]
            contents.append(text.encode())
        if "processes" in self.without:  # the machine's own can only be shown as it is
            argv += ["--bind", "/proc", "/proc"]
        else:
            argv += ["--proc", "/proc", *([] if "masks" in self.without else _masks())]
        argv += ["--size", str(64 << 10), "--tmpfs", "/dev"]
        for name in _DEVICES:
            argv += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            argv += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
        argv += ["--symlink", "/proc/self/fd", "/dev/fd"]
        size = [] if "limit space" in self.without else ["--size", str(job.limits.file_bytes)]
        for folder in ("/dev/shm", "/tmp", "/box"):
            argv += [*size, "--tmpfs", folder]
        for place in late:
            argv += [bind, ["place", place], place]
        argv += ["--remount-ro", "/dev", "--remount-ro", "/"]
        for name in job.files:
            argv += ["--perms", "0755", "--file", ["fd", f"file:{name}"], f"/box/{name}"]
        argv += ["--chdir", "/box", "--json-status-fd", ["fd", "status"]]
        program = self._filter
        if program:
            contents.append(program)
            argv += ["--seccomp", ["fd", f"extra:{len(_TEXTS)}"]]
        limit = "" if "limit NPROC" in self.without else _ulimit(job.limits.processes)
        # The shell tells the warden that the box stands, limits the processes, and is replaced.
        script = f'{limit}echo >&9; exec 9>&-; exec "$@"'
        argv += ["--", "/bin/sh", "-c", script, "sh", _program(job), *job.argv[1:]]
        plan["argv"] = argv
        return plan, contents


class Unshare(Linux):
    """The same name spaces by system calls from Python: nothing has to be installed."""

    name = "unshare"

    def plan(self, job: Job) -> tuple[dict[str, Any], list[bytes]]:
        plan = self._base(job, "namespaces")
        shown, links = self._view(job)
        plan["binds"] = [[place, place] for place in shown]
        plan["links"] = links
        plan["texts"] = _TEXTS
        plan["space"] = job.limits.file_bytes
        plan["devices"] = _DEVICES
        plan["masks"] = (_MASKED_FILES, _MASKED_FOLDERS)
        if "limit NPROC" not in self.without:
            plan["rlimits"]["NPROC"] = job.limits.processes
        plan["filter"] = self._filter.hex()
        plan["argv"] = [_program(job), *job.argv[1:]]
        return plan, list(job.files.values())


class Rlimits(Linux):
    """Resource limits and nothing else: the program sees and reaches all that its user does."""

    name = "rlimits"
    safe = False

    def plan(self, job: Job) -> tuple[dict[str, Any], list[bytes]]:
        plan = self._base(job, "bare")
        plan["argv"] = [_program(job), *job.argv[1:]]
        return plan, list(job.files.values())


class Docker:
    """A container without network, rights or a writable disk, for each run.

    The languages are those of the image (``BOOK_SANDBOX_IMAGE``, default ``python:3.11-slim``);
    it needs ``python3`` for the probe. Files reach the box through its standard input, before the
    program's own input. Nothing of this machine is mounted but the folders that the caller names.
    """

    name = "docker"
    safe = True
    program = "docker"

    def __init__(
        self, mounts: Sequence[str] = (), workers: int | None = None, without: Sequence[str] = ()
    ) -> None:
        self.mounts = tuple(mounts)
        self.image = os.environ.get("BOOK_SANDBOX_IMAGE", "python:3.11-slim")
        self._gate = threading.Semaphore(workers or os.cpu_count() or 1)

    def problem(self) -> str | None:
        if shutil.which(self.program) is None:
            return "install Docker"
        if self._fails("version", "--format", "{{.Server.Version}}"):
            return "no Docker daemon answers; start it, and let this user reach it"
        if self._fails("image", "inspect", self.image):
            return f"get the image: docker pull {self.image}"
        return None

    def _fails(self, *question: str) -> bool:
        """Whether Docker says no, or says nothing."""
        try:
            return subprocess.run(
                [self.program, *question], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=20, check=False,
            ).returncode != 0  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return True

    def command(self, job: Job, name: str) -> list[str]:
        """Return the whole ``docker run`` command of a job, with a container name."""
        limits = job.limits
        size = f"size={limits.file_bytes},nosuid,nodev,uid=65534,gid=65534,mode=700"
        seconds = math.ceil(limits.cpu_seconds) + 1
        command = [
            str(shutil.which(self.program) or self.program), "run", "--rm", "--interactive",
            "--init", "--name", name, "--network", "none", "--read-only", "--user", "65534:65534",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--hostname", "box",
            "--ipc", "none", "--pids-limit", str(limits.processes + 2),
            "--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes),
            "--ulimit", f"cpu={seconds}:{seconds + 1}",
            "--ulimit", f"fsize={limits.file_bytes}", "--ulimit", f"nofile={limits.open_files}",
            "--ulimit", "core=0", "--log-driver", "none", "--pull", "never",
            "--tmpfs", f"/box:exec,{size}", "--tmpfs", f"/tmp:exec,{size}", "--workdir", "/box",
            "--entrypoint", "/bin/sh",
        ]  # fmt: skip
        for place in (*self.mounts, *job.mounts):
            if "," in place or '"' in place:  # they would end the path in Docker's own syntax
                raise UsageError(f"Docker cannot show {place}: its name has a comma or a quote.")
            command += ["--mount", f"type=bind,source={place},target={place},readonly"]
        # The shell unpacks the files, which come first on stdin, and is replaced by the program.
        # The image's own variables, and those that Docker adds, do not reach it; its PATH does.
        script = f"dd bs={len(_archive(job.files))} count=1 iflag=fullblock 2>/dev/null | tar -xf -"
        if job.address_space:
            script += f" && ulimit -v {limits.memory_bytes >> 10}"
        script += ' && exec env -i "PATH=$PATH" "$@"'
        settings = {name: value for name, value in ENVIRONMENT.items() if name != "PATH"}
        variables = [f"{name}={value}" for name, value in (settings | dict(job.env)).items()]
        return [*command, self.image, "-c", script, "sh", *variables, *job.argv]

    def run(self, job: Job, stop: Stop | None = None) -> Execution:
        from .pool import supervise

        name = f"box-{os.getpid()}-{os.urandom(6).hex()}"
        with self._gate:
            ran = supervise(
                self.command(job, name),
                _archive(job.files) + job.stdin,
                job.limits,
                end=lambda: self._fails("rm", "--force", name),
                stop=stop,
            )
        if ran.exit_code == 125:  # Docker's own, for a container that it could not start
            said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
            return replace(ran, exit_code=None, problem=said[-1] if said else "docker run failed")
        # The kernel ends a container beyond its memory, and a process beyond its processor time.
        reason = {_SIGKILL: "memory", _SIGXCPU: "cpu"}.get(ran.signal or 0)
        return replace(ran, signal=None, killed_for=reason) if reason else ran

    def close(self) -> None:
        """Nothing runs between two runs."""


BACKENDS: dict[str, type[Linux] | type[Docker]] = {
    "bwrap": Bubblewrap,
    "unshare": Unshare,
    "docker": Docker,
    "rlimits": Rlimits,
}


def _archive(files: Mapping[str, bytes]) -> bytes:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _program(job: Job) -> str:
    """The program of a job: a path as it is, or a name that is looked up as the box would."""
    name, path = job.argv[0], job.env.get("PATH", PATH)
    found = name if "/" in name else shutil.which(name, path=path)
    if found is None:
        raise NotAvailable(f"There is no program {name!r} on {path}: install it.")
    return found


@cache
def _system() -> tuple[list[str], list[tuple[str, str]]]:
    """The machine's own folders that every box sees, and the links among them."""
    shown = ["/usr", *(place for place in _ETC if Path(place).exists())]
    links = []
    for place in _SYSTEM_LINKS:
        if Path(place).is_symlink():
            links.append((str(Path(place).readlink()), place))
        elif Path(place).is_dir():
            shown.append(place)
    if Path("/nix/store").is_dir():
        shown.append("/nix/store")
    return shown, links


@cache
def _masks() -> list[str]:
    """What bwrap needs to be told to cover parts of /proc."""
    options = []
    for name in _MASKED_FILES:
        if Path("/proc", name).exists():
            options += ["--dev-bind", "/dev/null", f"/proc/{name}"]
    for name in _MASKED_FOLDERS:
        if Path("/proc", name).is_dir():
            place = f"/proc/{name}"
            options += ["--size", "4096", "--tmpfs", place, "--remount-ro", place]
    return [*options, "--ro-bind", "/proc/sys", "/proc/sys"]


def _public(place: str) -> bool:
    """Whether a user without rights can read a folder or file."""
    path = Path(place)
    try:
        folders = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
        mode = path.stat().st_mode
    except OSError:
        return False
    return folders and bool(mode & stat.S_IROTH) and (not path.is_dir() or bool(mode & 1))


@cache
def _bwrap_version(program: str) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else (0,)


@cache
def _ulimit_letter() -> str:
    """The letter of this machine's /bin/sh for the number of processes."""
    for letter in "up":
        asked = subprocess.run(
            ["/bin/sh", "-c", f"ulimit -{letter}"], capture_output=True, timeout=10, check=False
        )
        if asked.returncode == 0:
            return letter
    raise SandboxError("This machine's /bin/sh cannot limit processes: use the back-end unshare.")


def _ulimit(processes: int) -> str:
    """The shell's command for a limit of processes, at most what this process has itself."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    number = processes if most == resource.RLIM_INFINITY else min(processes, most)
    return f"ulimit -{_ulimit_letter()} {number} || exit 126; "


# ---------------------------------------------------------------------------------- the probe

WALLS = (
    "no network",
    "system is read-only",
    "user's files unseen",
    "environment is empty",
    "no other process in sight",
    "no root, no rights",
    "processes limited",
    "memory limited",
    "space limited",
)

_PROBE = r"""
import errno, json, os, socket, sys
port, canary, marker = int(sys.argv[1]), sys.argv[2], sys.argv[3]
found = {}

def fails(action):
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False

def connect():
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        pass

def write(path):
    def action():
        with open(path, "w"):
            pass
        os.unlink(path)
    return action

places = ["/usr/probe-box", "/probe-box", "/etc/probe-box", "/dev/probe-box", "/proc/sys/kernel/x"]
found["no network"] = fails(connect)
found["system is read-only"] = all(fails(write(place)) for place in places)
found["user's files unseen"] = fails(lambda: open(canary).close())
found["environment is empty"] = not any(marker in value for value in os.environ.values())
others = [int(name) for name in os.listdir("/proc") if name.isdigit()]
found["no other process in sight"] = len(others) <= 5
state = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
found["no root, no rights"] = (
    os.getuid() != 0 and int(state["CapEff"], 16) == 0 and int(state["CapBnd"], 16) == 0
    and state["NoNewPrivs"].strip() == "1" and state["Seccomp"].strip() == "2"
)
children, stopped = [], False
for _ in range(60):
    try:
        pid = os.fork()
    except OSError:
        stopped = True
        break
    if not pid:
        import time
        time.sleep(20)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
found["processes limited"] = stopped
found["memory limited"] = fails(lambda: bytearray(1 << 30))
def fill():
    for number in range(9):
        with open(f"{os.environ['TMPDIR']}/probe-{number}", "wb") as file:
            file.write(bytes(1 << 20))
found["space limited"] = fails(fill)
print(json.dumps(found))
"""


def probe(backend: Backend, python: str, mounts: Sequence[str] = ()) -> dict[str, bool]:
    """Run the probe in a back-end and return which walls stood.

    Parameters
    ----------
    python : a Python that can be started in the box

    Raises
    ------
    SandboxError : if the probe did not run at all
    """
    marker = f"canary-{os.urandom(8).hex()}"
    os.environ["BOOK_SANDBOX_CANARY"] = marker
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            tempfile.TemporaryDirectory(prefix="canary-") as folder,
        ):
            Path(folder).chmod(0o755)
            canary = Path(folder, "canary.txt")
            canary.write_text(marker)
            canary.chmod(0o644)
            limits = Limits(
                cpu_seconds=5, wall_seconds=20, memory_bytes=300 * MIB, processes=24,
                file_bytes=4 * MIB,
            )  # fmt: skip
            port = str(server.getsockname()[1])
            ran = backend.run(
                Job(
                    [python, "-I", "-S", "/box/probe.py", port, str(canary), marker],
                    {"probe.py": _PROBE.encode()},
                    limits=limits,
                    mounts=mounts,
                )
            )
    finally:
        del os.environ["BOOK_SANDBOX_CANARY"]
    if not ran.ok:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = ran.problem or ran.killed_for or (said[-1] if said else f"exit {ran.exit_code}")
        raise SandboxError(f"The probe of {backend.name} did not run: {reason}.")
    found = json.loads(ran.stdout)
    return {wall: bool(found.get(wall)) for wall in WALLS}


def check_name(name: str) -> None:
    """Raise UsageError for a back-end that does not exist."""
    if not isinstance(name, str) or name not in BACKENDS:
        raise UsageError(
            f"Unknown back-end {str(name)[:40]!r}.{suggest(str(name), list(BACKENDS))} "
            f"There are: auto, {', '.join(BACKENDS)}."
        )


def make(
    name: str, mounts: Sequence[str], workers: int | None = None, without: Sequence[str] = ()
) -> Backend:
    """Return a back-end by name.

    Raises
    ------
    UsageError : for an unknown name
    """
    check_name(name)
    return BACKENDS[name](mounts, workers, without)
