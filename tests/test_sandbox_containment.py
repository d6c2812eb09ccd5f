"""Nothing gets out of the sandbox, and nothing is left of it: attacks on every back-end here.

The attacks are in `sandbox_attacks`. All of them run once for each back-end as root, and once as an
ordinary user, several at a time; each test below then looks at one result.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import sandbox_attacks as attacks
from sandbox_cases import needs_walls

from helpers.sandbox import Feedback, Sandbox, SandboxError, Verdict, backends
from helpers.sandbox.languages import Toolchain
from helpers.sandbox.pool import Stop
from helpers.sandbox.records import MIB, Execution, Limits

if sys.platform != "linux":
    pytest.skip("the back-ends tested here need Linux", allow_module_level=True)

BACKENDS = ("bwrap", "unshare")
USERS = ("root", "an ordinary user")
ORDINARY = 12345  # a user that owns nothing
SOON = 6  # seconds: 2 are enough on a machine with nothing else to do
ROOT = Path(__file__).resolve().parents[1]

pytestmark = needs_walls


def _problem(name: str) -> str:
    """Why a back-end cannot be tested here; empty if it can."""
    backend = backends.make(name, [])
    try:
        reason = backend.problem()
        if reason is None:
            backend.run(backends.Job(["/bin/true"]))
    except SandboxError as error:
        reason = str(error)
    finally:
        backend.close()
    return reason or ""


@pytest.fixture(scope="module")
def problems() -> dict[str, str]:
    """Back-end -> why it is not here; empty if it is."""
    return {name: _problem(name) for name in (*BACKENDS, "docker")}


# ---------------------------------------------------------------------------- the sweeps


def _interpreter(user: int | None) -> str:
    """A Python that a user may start; empty if there is none."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            ran = subprocess.run(
                [path, "-S", "-c", "import sys; assert sys.version_info >= (3, 11)"],
                user=user, group=user, extra_groups=None if user is None else [], cwd="/",
                capture_output=True, timeout=30, check=True,
            )  # fmt: skip
            return path if ran.returncode == 0 else ""
    return ""


def _host_state() -> dict[str, Any]:
    """What the attacks must leave as it is, beyond what `attacks.Host` looks at itself."""
    places = [Path(place) for place in ("/dev/shm", "/var/tmp", "/", "/usr", "/etc", "/bin")]
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
        # Other programs of this machine come and go; those of the boxes' users must not stay.
        "ipc": [
            row
            for kind in "mqs"
            for row in _said("ipcs", f"-{kind}").splitlines()
            if {"nobody", "65534", str(ORDINARY)} & set(row.split())
        ],
        "files": sorted(
            str(path)
            for place in places
            for path in place.glob("*")
            if path.lstat().st_uid in (65534, ORDINARY) or "planted" in path.name
        ),
        "name": os.uname().nodename,
        "core": Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8"),
    }


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Sweeps:
    """All sweeps that this machine allows, run two at a time, and the host around them."""

    def __init__(self, folder: Path, problems: dict[str, str]) -> None:
        self.reasons: dict[tuple[str, str], str] = {}
        self.found: dict[tuple[str, str], dict[str, Any]] = {}
        tools = attacks.found_tools()
        compiled = attacks.compile_all(tools)
        driver = attacks.library(folder)
        self.before = _host_state()
        with contextlib.ExitStack() as stack:
            waiting = {}
            threads = stack.enter_context(ThreadPoolExecutor(2))
            for name in BACKENDS:
                settings = stack.enter_context(attacks.prepared(folder, name, tools, compiled))
                for who in USERS:
                    key = name, who
                    self.reasons[key] = problems[name] or self._cannot(who)
                    if not self.reasons[key]:
                        waiting[key] = threads.submit(self._run, driver, settings, who)
            for key, future in waiting.items():
                self.found[key] = future.result()
        self.after = _host_state()

    @staticmethod
    def _cannot(who: str) -> str:
        root = os.getuid() == 0
        if who == "root" and not root:
            return "these tests do not run as root"
        user = ORDINARY if root and who != "root" else None
        return "" if _interpreter(user) else f"no Python that user {user} may start"

    @staticmethod
    def _run(driver: Path, settings: Path, who: str) -> dict[str, Any]:
        user = ORDINARY if os.getuid() == 0 and who != "root" else None
        with tempfile.TemporaryDirectory(prefix="sweep-") as place:
            Path(place).chmod(0o755)  # so that nothing but the box keeps an attack from it
            if user is not None:
                os.chown(place, user, user)
            ran = subprocess.run(
                # -S: the engine needs nothing but the standard library.
                [_interpreter(user), "-S", "-B", str(driver), str(settings)],
                user=user, group=user, extra_groups=None if user is None else [], cwd="/",
                env={"PATH": os.environ["PATH"], "TMPDIR": place, "HOME": str(Path.home())},
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr[-3000:]
            left = sorted(path.name for path in Path(place).rglob("*"))
        return {**json.loads(ran.stdout), "files_left": left, "said": ran.stderr}


@pytest.fixture(scope="module")
def sweeps(problems: dict[str, str]) -> Iterator[Sweeps]:
    """The sweeps, run when the first test asks for them."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        Path(folder).chmod(0o755)
        yield Sweeps(Path(folder), problems)


@pytest.fixture
def sweep(sweeps: Sweeps, backend: str, who: str) -> dict[str, Any]:
    """One sweep, or a reason to skip."""
    reason = sweeps.reasons[backend, who]
    if reason:
        pytest.skip(f"{backend} as {who}: {reason}")
    return sweeps.found[backend, who]


both = pytest.mark.parametrize(
    ("backend", "who"), [(name, who) for name in BACKENDS for who in USERS]
)


def test_there_are_as_many_attacks_as_promised() -> None:
    names = [attack.name for attack in attacks.ATTACKS]
    names += [build.name for build in attacks.BUILDS]
    assert len(attacks.ATTACKS) >= 75
    assert len(set(names)) == len(names)
    assert len({attack.family for attack in attacks.ATTACKS}) >= 15


@both
@pytest.mark.parametrize("name", [attack.name for attack in attacks.ATTACKS])
def test_attack_is_held_back(sweep: dict[str, Any], name: str) -> None:
    if name in sweep["missing"]:
        pytest.skip(sweep["missing"][name])
    assert sweep["results"][name]["trouble"] == ""


@both
def test_attacks_leave_no_trace(sweep: dict[str, Any]) -> None:
    """As the host sees it: no connection came, the secret was not read, nothing was changed."""
    assert sweep["traces"] == []
    assert sweep["files_left"] == []


@both
def test_attacks_leave_no_process(sweep: dict[str, Any]) -> None:
    assert sweep["left"] == []
    assert sweep["left_later"] == []
    assert attacks.marked(sweep["mark"]) == []
    assert sweep["warden"] > 0
    assert not _alive(sweep["warden"])


@both
def test_attacks_leave_no_descriptor(sweep: dict[str, Any]) -> None:
    assert sweep["descriptors"] <= 0


@both
def test_users_are_who_they_should_be(sweep: dict[str, Any], who: str) -> None:
    root = os.getuid() == 0
    expected = os.getuid() if not root else {"root": 0, "an ordinary user": ORDINARY}[who]
    assert sweep["user"] == expected


def test_host_is_as_before(sweeps: Sweeps) -> None:
    if not sweeps.found:
        pytest.skip("no back-end is here")
    for name, value in sweeps.before.items():
        assert sweeps.after[name] == value, name


def test_canary_would_tell_that_it_was_read() -> None:
    """The time of reading is part of the traces; where a machine notes none, this says so."""
    with attacks.Host(65534 if os.getuid() == 0 else os.getuid()) as host:
        assert host.traces() == []
        host.canary.read_bytes()
        options = subprocess.run(
            ["findmnt", "-no", "OPTIONS", "--target", str(host.canary)],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        if "noatime" in options:
            pytest.skip("this machine's temporary folder notes no time of reading")
        assert "files" in host.traces()[0]


def test_host_would_tell_what_happened() -> None:
    """Each trace that the host looks for is seen when it is made on purpose."""
    import socket

    with attacks.Host(65534 if os.getuid() == 0 else os.getuid()) as host:
        facts = host.facts(1, [])
        socket.create_connection(("127.0.0.1", facts["tcp4"])).close()
        for address in (facts["unix"], "\0" + facts["abstract"]):
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", facts["udp4"]))
        (host.shared / "planted").touch()
        host.victim.kill()
        host.victim.wait()
        said = " ".join(host.traces())
    for word in ("tcp4", "named", "abstract", "udp4", "planted", "victim"):
        assert word in said


# ---------------------------------------------------------------------------- compilers


BUILD_LIMITS = Limits(
    cpu_seconds=6, wall_seconds=90, memory_bytes=512 * MIB, processes=128,
    output_bytes=8 * MIB, file_bytes=64 * MIB, open_files=512,
)  # fmt: skip


@pytest.fixture(scope="module")
def builds(
    problems: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Feedback | str]:
    """(back-end, attack on a compiler) -> what came of it; or why it was not tried."""
    canary = str(_canary(tmp_path_factory.mktemp("builds")))
    languages = sorted({build.language for build in attacks.BUILDS})
    found: dict[tuple[str, str], Feedback | str] = {
        (name, build.name): problems[name] for name in BACKENDS for build in attacks.BUILDS
    }
    with contextlib.ExitStack() as stack:
        waiting = {}
        for name in BACKENDS:
            if problems[name]:
                continue
            # Some end only at a limit, which then is a small one.
            for ends in (False, True):
                limits = BUILD_LIMITS.with_(cpu_seconds=0.7) if ends else BUILD_LIMITS
                sandbox = stack.enter_context(
                    Sandbox(languages, backend=name, compile_limits=limits)
                )
                for build in attacks.BUILDS:
                    missing = sandbox.languages[build.language]
                    if build.bomb is not ends:
                        continue
                    if missing.startswith("not available"):
                        found[name, build.name] = missing
                        continue
                    code = build.code.replace("@canary@", canary)
                    waiting[name, build.name] = sandbox.submit(code, language=build.language)
        for key, future in waiting.items():
            found[key] = future.result()
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("build", attacks.BUILDS, ids=lambda build: build.name)
def test_compiler_gives_nothing_away(
    builds: dict[tuple[str, str], Feedback | str], backend: str, build: attacks.Build
) -> None:
    feedback = builds[backend, build.name]
    if isinstance(feedback, str):
        pytest.skip(feedback)
    said = feedback.to_json()
    assert "secret-of-the-host" not in said
    assert "root:" not in said
    assert feedback.verdict is not Verdict.SANDBOX_ERROR
    if build.bomb:
        assert feedback.verdict is Verdict.COMPILE_ERROR
        assert feedback.compilation is not None
        assert feedback.compilation.wall_seconds < 60
    if build.language == "java" and feedback.tests:  # nothing of it ran when it was compiled
        assert feedback.tests[0].execution.stdout.strip() == b"false"


def _canary(folder: Path) -> Path:
    for parent in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            if "pytest-of" in str(parent):
                parent.chmod(0o755)
    canary = folder / "canary.h"
    canary.write_text("secret-of-the-host;\n", encoding="ascii")
    canary.chmod(0o644)
    return canary


def test_compiler_would_give_it_away(problems: dict[str, str], tmp_path: Path) -> None:
    """The same program in a box that is shown the file: the message then has the secret."""
    name = next((name for name in BACKENDS if not problems[name]), None)
    if name is None:
        pytest.skip("no back-end is here")
    canary = _canary(tmp_path)
    with Sandbox(["c"], backend=name, mounts=[str(tmp_path)]) as sandbox:
        if sandbox.languages["c"].startswith("not available"):
            pytest.skip(sandbox.languages["c"])
        feedback = sandbox.run(f'#include "{canary}"\nint main(void) {{}}', language="c")
    assert "secret-of-the-host" in feedback.to_json()


# ---------------------------------------------------------------------------- what ends a run


# It hears no signal, and most of it leaves the group, the session and the parent it had.
STUBBORN = r"""
import os, signal, time
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
for _ in range(3):
    if not os.fork():
        os.setsid()
        if not os.fork():
            while True:
                time.sleep(0.05)
        os._exit(0)
if not os.fork():
    while True:
        pass
while True:
    time.sleep(1)
"""

CALLER = r"""
import json, sys, threading
sys.path.insert(0, sys.argv[1])
settings = json.loads(sys.argv[2])
from helpers.sandbox import backends
from helpers.sandbox.records import Limits
backend = backends.make(settings["backend"], settings["mounts"], 4)
job = backends.Job(
    [settings["python"], "-S", "-s", "-B", "/box/main.py"], {"main.py": settings["code"].encode()},
    env={"ATTACK_MARK": settings["mark"]}, limits=Limits(cpu_seconds=100, wall_seconds=200),
)
for _ in range(2):
    threading.Thread(target=backend.run, args=(job,), daemon=True).start()
if settings["copied"]:
    import ctypes, time
    time.sleep(1)  # the worker has been started
    copy = ctypes.PyDLL(None).fork()  # not os.fork: nobody in Python is told
    if not copy:
        time.sleep(60)
    print(copy, flush=True)
backend.run(job)
"""


def _python() -> tuple[str, list[str]]:
    found = attacks.found_tools()["python"]
    assert isinstance(found, Toolchain), found
    return found.programs["python3"], list(found.mounts)


class Family:
    """A caller in a process of its own, with three boxes full of stubborn processes."""

    def __init__(self, backend: str, copied: bool = False) -> None:
        self.mark = f"mark-{os.urandom(8).hex()}"
        python, mounts = _python()
        settings = {
            "backend": backend, "python": python, "mounts": mounts, "code": STUBBORN,
            "mark": self.mark, "copied": copied,
        }  # fmt: skip
        self.caller = psutil.Popen(
            [sys.executable, "-c", CALLER, str(ROOT), json.dumps(settings)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self.copy: psutil.Process | None = None
        if copied:
            self.copy = psutil.Process(int(self.caller.stdout.readline()))
        _until(lambda: len(attacks.marked(self.mark)) >= 15, 30)
        found = self.caller.children(recursive=True)
        self.members: list[psutil.Process] = [each for each in found if each != self.copy]
        self.warden = self.members[0]

    def gone(self) -> bool:
        """Whether nothing is left; what has ended and nobody waited for does not count."""
        return not attacks.marked(self.mark) and not any(map(_running, self.members))

    def close(self) -> None:
        for process in (*self.members, self.caller, *([self.copy] if self.copy else [])):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.caller.wait()
        self.caller.stdout.close()


def _running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _alive(pid: int) -> bool:
    try:
        return _running(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def _until(condition: Callable[[], bool], seconds: float) -> None:
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def family(problems: dict[str, str], backend: str) -> Iterator[Family]:
    """A caller with running boxes."""
    if problems.get(backend):
        pytest.skip(problems[backend])
    made = Family(backend)
    yield made
    made.close()


@pytest.mark.parametrize("backend", [*BACKENDS, "rlimits"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_caller(family: Family, number: signal.Signals) -> None:
    assert not family.gone()  # so that the next line can fail
    family.caller.send_signal(number)
    _until(family.gone, SOON)
    _until(lambda: not _running(family.caller), SOON)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_outlives_the_warden(family: Family) -> None:
    family.warden.kill()
    _until(family.gone, SOON)
    # The caller is told, and not left waiting.
    said = family.caller.communicate(timeout=SOON)[0]
    assert b"SandboxError" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_of_the_caller_does_not_keep_the_boxes(
    problems: dict[str, str], backend: str
) -> None:
    """A process that was forked behind Python's back holds the caller's end of the link."""
    if problems[backend]:
        pytest.skip(problems[backend])
    family = Family(backend, copied=True)
    try:
        family.caller.kill()
        _until(family.gone, SOON)
        assert family.copy is not None
        assert _running(family.copy)  # it is still there, and no reason to go on
    finally:
        family.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_closing_ends_what_runs(problems: dict[str, str], backend: str) -> None:
    if problems[backend]:
        pytest.skip(problems[backend])
    python, mounts = _python()
    made = backends.make(backend, mounts, 2)
    mark = f"mark-{os.urandom(8).hex()}"
    job = backends.Job(
        [python, "-S", "-s", "-B", "/box/main.py"], {"main.py": STUBBORN.encode()},
        env={attacks.MARK_NAME: mark}, limits=Limits(cpu_seconds=100, wall_seconds=200),
    )  # fmt: skip
    said: list[object] = []

    def run() -> None:
        try:
            said.append(made.run(job))
        except SandboxError as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    _until(lambda: len(attacks.marked(mark)) >= 5, 30)
    made.close()
    thread.join(SOON)
    assert attacks.marked(mark) == []
    assert isinstance(said[0], SandboxError)


@pytest.mark.parametrize("backend", [*BACKENDS, "rlimits"])
def test_nothing_outlives_a_run(problems: dict[str, str], backend: str) -> None:
    """The program ends by itself, and leaves orphans that do not."""
    if problems.get(backend):
        pytest.skip(problems[backend])
    python, mounts = _python()
    made = backends.make(backend, mounts, 2)
    mark = f"mark-{os.urandom(8).hex()}"
    code = STUBBORN.rpartition("while True")[0] + "time.sleep(0.2)\n"
    try:
        ran = made.run(
            backends.Job(
                [python, "-S", "-s", "-B", "/box/main.py"],
                {"main.py": code.encode()},
                env={attacks.MARK_NAME: mark},
            )
        )
        _until(lambda: attacks.marked(mark) == [], 0.5 if backend != "rlimits" else 1)
    finally:
        made.close()
    assert ran.ok
    assert attacks.marked(mark) == []


# ---------------------------------------------------------------------------- box against box


TARGET = r"""
import json, os, signal, socket, time
heard = []
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda number, frame: heard.append(number))
server = socket.socket(socket.AF_UNIX)
server.bind("\0common-name")
server.listen()
server.setblocking(False)
path = socket.socket(socket.AF_UNIX)
path.bind("/tmp/common")
path.listen()
for place in ("/tmp", "/box", "/dev/shm"):
    open(f"{place}/mine", "w").write("mine")
end = time.monotonic() + 2.5
connections = 0
while time.monotonic() < end:
    try:
        server.accept()
        connections += 1
    except OSError:
        time.sleep(0.01)
kept = all(open(f"{place}/mine").read() == "mine" for place in ("/tmp", "/box", "/dev/shm"))
print(json.dumps([heard, connections, kept, len([n for n in os.listdir("/proc") if n.isdigit()])]))
"""

NEIGHBOUR = r"""
import json, os, socket, time
found = []
end = time.monotonic() + 1.5
while time.monotonic() < end:
    for address in ("\0common-name", "/tmp/common"):
        try:
            socket.socket(socket.AF_UNIX).connect(address)
            found.append(repr(address))
        except OSError:
            pass
    for place in ("/tmp", "/box", "/dev/shm"):
        if os.path.exists(place + "/mine"):
            found.append(place)
    for pid in (-1, *range(3, 40)):
        for number in (15, 10, 9):
            try:
                os.kill(pid, number)
                found.append(pid)
            except OSError:
                pass
    time.sleep(0.02)
print(json.dumps(sorted(set(map(str, found)))))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_boxes_do_not_see_or_disturb_one_another(problems: dict[str, str], backend: str) -> None:
    """All boxes of a caller that is root have the same user outside; and still."""
    if problems[backend]:
        pytest.skip(problems[backend])
    python, mounts = _python()
    made = backends.make(backend, mounts, 3)

    def run(code: str) -> Execution:
        argv = [python, "-S", "-s", "-B", "/box/main.py"]
        return made.run(backends.Job(argv, {"main.py": code.encode()}))

    try:
        with ThreadPoolExecutor(3) as threads:
            target, *others = threads.map(run, [TARGET, NEIGHBOUR, NEIGHBOUR])
    finally:
        made.close()
    assert json.loads(target.stdout) == [[], 0, True, 2]
    for other in others:
        assert json.loads(other.stdout) == []


# ---------------------------------------------------------------------------- the sandbox's own


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_in_a_folder_that_is_shown_too_stays_whole(
    problems: dict[str, str], backend: str, tmp_path: Path
) -> None:
    """Both lie at the same path; making room for the second must not touch the first."""
    if problems[backend]:
        pytest.skip(problems[backend])
    canary = _canary(tmp_path)
    canary.chmod(0o666)
    tmp_path.chmod(0o777)
    made = backends.make(backend, [str(tmp_path), str(canary)], 1)
    try:
        ran = made.run(backends.Job(["cat", str(canary)]))
    finally:
        made.close()
    assert ran.stdout == b"secret-of-the-host;\n"
    assert canary.read_bytes() == b"secret-of-the-host;\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_that_is_not_there_ends_as_in_a_shell(
    problems: dict[str, str], backend: str
) -> None:
    if problems[backend]:
        pytest.skip(problems[backend])
    made = backends.make(backend, [], 1)
    try:
        missing = made.run(backends.Job(["/box/nothing"]))
        other = made.run(backends.Job(["/box/data"], {"data": b"\x7fELF and no more"}))
    finally:
        made.close()
    assert (missing.exit_code, missing.problem) == (127, "")
    assert other.problem == ""
    assert other.exit_code in (126, 127, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_long_arguments_are_refused_and_harm_nobody(problems: dict[str, str], backend: str) -> None:
    if problems[backend]:
        pytest.skip(problems[backend])
    made = backends.make(backend, [], 1)
    try:
        long = made.run(backends.Job(["/bin/echo", *["x" * 1000] * 9000]))
        wide = made.run(backends.Job(["/bin/true"], env={"X": "x" * (1 << 20)}))
        after = made.run(backends.Job(["/bin/echo", "fine"]))
    finally:
        made.close()
    assert not long.ok
    assert not wide.ok
    assert after.stdout == b"fine\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_flood_does_not_starve_the_others(problems: dict[str, str], backend: str) -> None:
    """The warden is one thread: what three boxes write must not keep the fourth from its end."""
    if problems[backend]:
        pytest.skip(problems[backend])
    made = backends.make(backend, [], 4)
    flood = backends.Job(
        ["/bin/sh", "-c", "yes x & yes y >&2 & wait"],
        limits=Limits(cpu_seconds=3, output_bytes=48 * MIB, wall_seconds=20),
    )
    try:
        with ThreadPoolExecutor(4) as threads:
            floods = [threads.submit(made.run, flood) for _ in range(3)]
            began = time.monotonic()
            quick = threads.submit(made.run, backends.Job(["/bin/echo", "fine"])).result()
            taken = time.monotonic() - began
            ends = [future.result().killed_for for future in floods]
    finally:
        made.close()
    assert quick.stdout == b"fine\n"
    assert taken < SOON
    assert set(ends) <= {"output", "cpu"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_box_that_was_ended_while_it_was_built_leaves_nothing(
    problems: dict[str, str], backend: str
) -> None:
    """The process around a box may end before the one inside has asked to end with it."""
    if problems[backend]:
        pytest.skip(problems[backend])
    made = backends.make(backend, [], 2)
    try:
        made.run(backends.Job(["/bin/true"]))
        warden = psutil.Process(_warden(made))
        with ThreadPoolExecutor(2) as threads:
            listed = Path(f"/proc/{warden.pid}/task/{warden.pid}/children")
            for number in range(60):
                ran = threads.submit(made.run, backends.Job(["/bin/sleep", "0.05"]))
                while not (pids := listed.read_text(encoding="ascii").split()) and not ran.done():
                    pass
                time.sleep(number % 12 / 2000)  # early and late
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                ran.result()
        _until(lambda: not any(map(_running, warden.children(recursive=True))), SOON)
    finally:
        made.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_that_wait_and_many_that_give_up(problems: dict[str, str], backend: str) -> None:
    """A run that is stopped before its turn takes its descriptors along."""
    if problems[backend]:
        pytest.skip(problems[backend])
    if os.getuid() != 0:
        pytest.skip("only root may look at the warden's descriptors")
    made = backends.make(backend, [], 2)

    def give_up(_: int) -> str:
        stop = Stop()
        timer = threading.Timer(0.05, stop.set)
        timer.start()
        try:
            return made.run(backends.Job(["/bin/sleep", "9"], {"x": b"x"}), stop).problem
        except SandboxError as error:
            return str(error)

    try:
        assert made.run(backends.Job(["/bin/true"])).ok
        held = Path(f"/proc/{_warden(made)}/fd")
        before = len(list(held.iterdir()))
        with ThreadPoolExecutor(30) as threads:
            ended = list(threads.map(give_up, range(60)))
            quick = list(threads.map(made.run, [backends.Job(["/bin/true"])] * 60))
        assert set(ended) == {"The run was stopped."}
        assert all(ran.ok for ran in quick)
        _until(lambda: len(list(held.iterdir())) <= before, SOON)
    finally:
        made.close()


def _warden(backend: backends.Backend) -> int:
    assert isinstance(backend, backends.Linux)
    process = backend.pool._process
    assert process is not None
    return process.pid
