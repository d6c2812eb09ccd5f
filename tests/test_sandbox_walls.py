"""Every wall of the sandbox holds something back: without it an attack gets through.

A test of containment that cannot fail is worth nothing. Here one wall after the other is taken
away, and the attack it is for is seen to succeed. Where two walls stand against the same attack,
each alone still holds it. All attacks are small: at most 100 processes, some hundred MiB for a
moment, and connections to this machine itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sandbox_attacks as attacks
from sandbox_attacks import QUICK, Attack, Result
from sandbox_cases import needs_walls

from helpers.project import UsageError
from helpers.sandbox import SandboxError, backends, seccomp
from helpers.sandbox.languages import Toolchain
from helpers.sandbox.records import MIB, Limits

if sys.platform != "linux":
    pytest.skip("the back-ends tested here need Linux", allow_module_level=True)

BACKENDS = ("bwrap", "unshare")

# Attacks that are bounded in what they take, for walls that hold back what has no bound.
BOUNDED = {
    attack.name: attack
    for attack in (
        Attack("300 MiB, taken slowly", "memory", r"""
held = []
for _ in range(300):
    held.append(b"x" * (1 << 20))
    time.sleep(0.001)
time.sleep(1)
report(True, "it was given")
""", ends=("memory",), address_space=False),
        Attack("8 processes with 25 MiB each", "memory", r"""
for _ in range(8):
    if not os.fork():
        held = b"x" * (25 << 20)
        time.sleep(2)
        os._exit(0)
time.sleep(1)
report(True, "they were given")
""", ends=("memory",)),
        Attack("a second of processor time", "time", r"""
while time.process_time() < 1:
    pass
report(True, "it was given")
""", ends=("cpu",), limits=QUICK.with_(cpu_seconds=0.4)),
        Attack("three seconds of processor time", "time", r"""
while time.process_time() < 3:
    pass
report(True, "it was given")
""", ends=("cpu", "error"), limits=QUICK.with_(cpu_seconds=0.4)),
        Attack("a second of processor time, by many children", "time", r"""
for _ in range(20):
    if not os.fork():
        while time.process_time() < 0.05:
            pass
        os._exit(0)
    os.wait()
report(True, "it was given")
""", ends=("cpu",), limits=QUICK.with_(cpu_seconds=0.4)),
        Attack("two seconds of sleep", "time", "time.sleep(2)\nreport(True, 'it slept')",
               ends=("wall",), limits=QUICK.with_(wall_seconds=1)),
        Attack("a megabyte of output", "output", r"""
sys.stdout.write("x" * (1 << 20) + "\n")
report(True, "all was taken")
""", ends=("output",)),
        Attack("200 open files", "limits", r"""
none(open=lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(200)] and None)
"""),
    )
}  # fmt: skip
ALL: Mapping[str, Attack] = {**attacks.BY_NAME, **BOUNDED}

pytestmark = needs_walls


@dataclass(frozen=True)
class Wall:
    """What is to be taken away for an attack to succeed.

    Attributes
    ----------
    removed : all of it is taken away at once; if it is more than one thing, each alone is not
        enough, and is tried, too
    here : whether this machine has what the attack is after
    """

    attack: str
    removed: tuple[str, ...]
    only: tuple[str, ...] = BACKENDS
    here: Callable[[], bool] = lambda: True


def _grouped() -> bool:
    rows = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    return any(row.split(":", 2)[2] != "/" for row in rows)


def _x86() -> bool:
    return platform.machine() == "x86_64"


def _listed(name: str) -> Callable[[], bool]:
    return lambda: bool(Path(name).read_text(encoding="utf-8").strip())


WALLS = (
    # the network
    Wall("tcp over IPv4", ("network", "socket")),
    Wall("udp over IPv4", ("network", "socket")),
    Wall("bash: /dev/tcp", ("network", "socket")),
    Wall("a socket with a name only, on the host", ("network",)),
    Wall("what /proc and /sys know of the network", ("network",)),
    Wall("sockets of every family", ("socket",)),
    Wall("listening", ("socket",)),
    Wall("netlink: the host's interfaces", ("socket",)),
    Wall("more room in a socket", ("setsockopt",)),
    # files
    Wall("writing where the host lets everyone write", ("files",)),
    Wall("marks on the host's files", ("files",)),
    Wall("a file opened for reading, opened again for writing", ("files",)),
    Wall("out of a root by chroot", ("root", "rights", "chroot"), only=("unshare",)),
    Wall("mounting again, for writing", ("rights", "mount"), only=("unshare",)),
    Wall("mounting again, for writing", ("rights", "mount", "user"), only=("bwrap",)),
    Wall("taking mounts away", ("rights", "umount2"), only=("unshare",)),
    Wall("taking mounts away", ("rights", "umount2", "user"), only=("bwrap",)),
    Wall("who uses which file", ("inotify_init1",)),
    Wall("who uses which file", ("fcntl",)),
    Wall("filling the box's disks", ("limit space",)),
    Wall("millions of empty files", ("limit space",)),
    Wall("a file of a terabyte with nothing in it", ("limit FSIZE",)),
    # what /proc says
    Wall("processes of the host", ("processes",)),
    Wall("environments and command lines of others", ("processes",)),
    Wall("the first process's memory and files", ("masks",)),
    Wall("how the machine was started", ("masks",), here=_listed("/proc/cmdline")),
    Wall("what hangs on the machine", ("masks",)),
    Wall("switches of the kernel", ("masks",)),
    Wall("names of the machine", ("host name",)),
    Wall("names of the groups of processes", ("cgroup",), here=_grouped),
    # other processes
    Wall("a signal to a process of the same user", ("processes",)),
    Wall("ptrace", ("ptrace",)),
    Wall("memory of other processes", ("process_vm_readv",)),
    Wall("memory of other processes", ("process_vm_writev",)),
    Wall("descriptors of other processes", ("pidfd_open",)),
    Wall("fork bomb, counted", ("limit NPROC",)),
    Wall("thread bomb", ("limit NPROC",)),
    # memory
    Wall("one great allocation", ("limit AS",)),
    Wall("300 MiB, taken slowly", ("watch memory",)),
    Wall("8 processes with 25 MiB each", ("watch memory",)),
    Wall("sockets full of data", ("watch memory",)),
    Wall("tables of pages", ("watch memory",)),
    Wall("memory that nobody maps", ("memfd_create",)),
    Wall("shared memory of the host", ("ipc", "shmat")),
    Wall("shared memory that outlives", ("shmget",)),
    Wall("timers and signals that wait", ("limit SIGPENDING",)),
    # rights and name spaces
    Wall("new name spaces by unshare", ("user", "unshare")),
    Wall("new name spaces by clone", ("user", "clone")),
    Wall("clone3, whose flags no filter sees", ("clone",)),
    Wall("bash: unshare -r and nested boxes", ("user", "unshare")),
    Wall("capabilities", ("rights",)),
    Wall("promises taken back", ("filter",)),
    Wall("higher limits", ("limit AS",)),
    Wall("crashes that the host collects", ("limit CORE",)),
    # the filter
    Wall("every call that the filter names", ("filter",)),
    Wall("calls by the numbers of x32", ("architecture",), here=_x86),
    Wall("calls that are newer than the filter", ("newer",)),
    Wall("characters for the host's terminal", ("ioctl",)),
    Wall("addresses that can be foretold", ("personality",)),
    # limits
    Wall("a second of processor time", ("watch CPU",)),
    Wall("three seconds of processor time", ("watch CPU", "limit CPU"), only=("unshare",)),
    Wall("a second of processor time, by many children", ("watch CPU",)),
    Wall("two seconds of sleep", ("limit wall",)),
    Wall("a megabyte of output", ("limit output",)),
    Wall("200 open files", ("limit NOFILE",)),
)


@pytest.fixture(scope="module")
def tools() -> dict[str, Toolchain | str]:
    """The toolchains of the attacks used here."""
    return attacks.toolchains(["python", "bash", "javascript", "ruby"])


Case = tuple[str, tuple[str, ...], str]  # back-end, what is left out, attack


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tools: dict[str, Toolchain | str]
) -> Mapping[Case, Result | str]:
    """What came of every case that a test here asks for, or why it was not tried.

    They run several at a time, each on a host of its own.
    """
    unfit = {name: _problem(name) for name in (*BACKENDS, "rlimits")}
    here = [item for item in request.session.items if item.path == request.path]
    asked = [getattr(item, "callspec", None) for item in here]
    cases = {spec.params["case"] for spec in asked if spec and "case" in spec.params}
    with contextlib.ExitStack() as stack:
        made: dict[tuple[str, tuple[str, ...]], backends.Backend] = {}
        for name, without, _ in cases:
            if not unfit[name] and (name, without) not in made:
                made[name, without] = attacks.make(name, tools, 4, without)
                stack.callback(made[name, without].close)
        threads = stack.enter_context(ThreadPoolExecutor(4))

        def attempt(case: Case) -> Result | str:
            return unfit[case[0]] or _attempt(made[case[:2]], case[2], tools)

        return dict(zip(cases, threads.map(attempt, cases), strict=True))


def _attempt(
    backend: backends.Backend, name: str, tools: dict[str, Toolchain | str]
) -> Result | str:
    with attacks.Host(65534 if os.getuid() == 0 else os.getuid()) as host:
        place = attacks.Range(backend, host, tools, {})
        return place.missing(ALL[name]) or place.attempt(ALL[name])


@pytest.fixture
def result(results: Mapping[Case, Result | str], case: Case) -> Result:
    """What came of one case."""
    found = results[case]
    if isinstance(found, str):
        pytest.skip(found)
    return found


def _case(backend: str, without: Sequence[str], attack: str) -> Any:
    name = f"{backend}-{attack}" + (f"-without {' and '.join(without)}" if without else "")
    return pytest.param((backend, tuple(without), attack), id=name)


def _problem(name: str) -> str:
    made = backends.make(name, [])
    try:
        reason = made.problem()
        if reason is None:
            made.run(backends.Job(["/bin/true"]))
    except SandboxError as error:
        reason = str(error)
    finally:
        made.close()
    return reason or ""


HERE = [wall for wall in WALLS if wall.here()]


@pytest.mark.parametrize(
    "case", [_case(name, wall.removed, wall.attack) for wall in HERE for name in wall.only]
)
def test_without_the_wall_the_attack_gets_through(result: Result) -> None:
    assert result.trouble.startswith("it got through")


@pytest.mark.parametrize(
    "case",
    [
        _case(name, [one], wall.attack)
        for wall in HERE
        if len(wall.removed) > 1
        for name in wall.only
        for one in wall.removed
    ],
)
def test_each_of_several_walls_holds_alone(result: Result) -> None:
    """Without one of them the others still hold: defence in depth."""
    assert result.trouble == ""


@pytest.mark.parametrize("case", [_case(name, (), one) for name in BACKENDS for one in BOUNDED])
def test_bounded_attacks_are_held_back(result: Result) -> None:
    assert result.trouble == ""


@pytest.mark.parametrize(
    "case", [_case("rlimits", (), attack.name) for attack in attacks.ATTACKS if attack.bare]
)
def test_without_a_box_the_attack_gets_through(result: Result, case: Case) -> None:
    """The unsafe back-end shows that the attack is one: limits alone do not stop it."""
    if "IPv6" in case[2] and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert result.trouble.startswith("it got through")


def _has_ipv6() -> bool:
    path = Path("/proc/net/if_inet6")
    return path.exists() and bool(path.read_text(encoding="ascii"))


def test_a_wall_that_does_not_exist_cannot_be_left_out() -> None:
    with pytest.raises(UsageError, match="Unknown wall 'netwrok'"):
        backends.make("unshare", [], 1, ["netwrok"])  # codespell:ignore netwrok


# ---------------------------------------------------------------------------- the filter itself


def _decide(program: bytes, number: int, audit: int, *args: int) -> int:
    """What the kernel would make of a call: the filter's instructions, carried out here."""
    words = struct.pack("=iIQ6Q", number, audit, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        kind, yes, no, constant = code[at]
        at += 1
        if kind == 0x20:
            value = struct.unpack_from("=I", words, constant)[0]
        elif kind == 0x06:
            return int(constant)
        else:
            tests = {0x15: value == constant, 0x35: value >= constant, 0x45: value & constant}
            at += yes if tests[kind] else no


ALLOW, KILL, EPERM, ENOSYS, EAFNOSUPPORT, ZERO = (
    0x7FFF0000, 0x80000000, 0x00050001, 0x00050026, 0x00050061, 0x00050000,
)  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


@pytest.fixture(params=list(MACHINES))
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The filter as it is built for one processor: its column, and the kernel's name for it."""
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return MACHINES[request.param]


@pytest.mark.parametrize("name", list(seccomp.DENIED))
def test_each_call_is_denied_and_allowed_without_its_entry(
    machine: tuple[int, int], name: str
) -> None:
    column, audit = machine
    number = seccomp.DENIED[name][column]
    if number is None:
        pytest.skip("not on this processor")
    assert _decide(seccomp.build(), number, audit) == EPERM
    assert _decide(seccomp.build([name]), number, audit) == ALLOW


# rule -> the place of the call's number, what is denied, its answer, and what is allowed
RULES: dict[str, tuple[tuple[int | None, int | None], Sequence[int], int, Sequence[int]]] = {
    "clone": ((56, 220), (0x10000011,), EPERM, (0x11,)),
    "socket": ((41, 198), (2, 1), EAFNOSUPPORT, (1, 1)),
    "setsockopt": ((54, 208), (3, 1, 7), ZERO, (3, 1, 2)),
    "ioctl": ((16, 29), (0, 0x5412), EPERM, (0, 0x5401)),
    "fcntl": ((72, 25), (0, 1024), EPERM, (0, 1)),
    "mknod": ((259, 33), (0, 0, 0o060600), EPERM, (0, 0, 0o010600)),
    "newer": ((457, 457), (), ENOSYS, ()),
}  # fmt: skip


@pytest.mark.parametrize("rule", list(RULES))
def test_each_rule_denies_and_allows_without_it(machine: tuple[int, int], rule: str) -> None:
    column, audit = machine
    numbers, denied, answer, allowed = RULES[rule]
    number = numbers[column]
    assert number is not None
    assert _decide(seccomp.build(), number, audit, *denied) == answer
    assert _decide(seccomp.build([rule]), number, audit, *denied) == ALLOW
    if rule != "newer":
        assert _decide(seccomp.build(), number, audit, *allowed) == ALLOW


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_upper_half_of_an_argument_does_not_help(machine: tuple[int, int], high: int) -> None:
    """The kernel looks at the lower half only, and so must the filter."""
    column, audit = machine
    for numbers, denied, answer, _ in RULES.values():
        number = numbers[column]
        assert number is not None
        assert _decide(seccomp.build(), number, audit, *(high | x for x in denied)) == answer


def test_every_new_name_space_is_denied(machine: tuple[int, int]) -> None:
    column, audit = machine
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert _decide(seccomp.build(), (56, 220)[column], audit, (1 << bit) | 17) == EPERM


def test_other_architectures_are_killed(machine: tuple[int, int]) -> None:
    column, audit = machine
    for other in (0x40000003, 0x40000028, 0x14, 0, *(a for _, a in MACHINES.values())):
        expected = ALLOW if other == audit else KILL
        assert _decide(seccomp.build(), 1, other) == expected
    if column == 0:
        assert _decide(seccomp.build(), 0x40000001, audit) == KILL


def test_what_programs_need_is_allowed(machine: tuple[int, int]) -> None:
    """Reading, writing, memory, processes, threads, time: no rule may touch them by mistake."""
    column, audit = machine
    needed = {
        "read": (0, 63), "write": (1, 64), "mmap": (9, 222), "brk": (12, 214), "futex": (202, 98),
        "execve": (59, 221), "exit_group": (231, 94), "wait4": (61, 260), "openat": (257, 56),
        "clock_gettime": (228, 113), "getrandom": (318, 278), "rt_sigaction": (13, 134),
        "pipe2": (293, 59), "prlimit64": (302, 261), "epoll_pwait": (281, 22), "rseq": (334, 293),
        "sendmsg": (46, 211), "accept4": (288, 242), "statx": (332, 291), "kill": (62, 129),
        "faccessat2": (439, 439), "futex_waitv": (449, 449), "fchmodat2": (452, 452),
    }  # fmt: skip
    for numbers in needed.values():
        assert _decide(seccomp.build(), numbers[column], audit) == ALLOW


def test_filter_is_short_enough_for_the_kernel(machine: tuple[int, int]) -> None:
    assert machine
    assert len(seccomp.build()) // 8 < 4096


# ---------------------------------------------------------------------------- watching, ending


@pytest.fixture(scope="module")
def warden() -> Iterator[ModuleType]:
    """The warden's module, which is a program of its own and finds its neighbour by itself."""
    path = Path(backends.__file__).with_name("warden.py")
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("warden_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    del sys.modules[spec.name]
    sys.modules.pop("namespaces", None)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child that sleeps."""
    made = subprocess.Popen(["/bin/sleep", "60"])
    yield made
    made.kill()
    made.wait()


def test_a_signal_goes_to_a_child_of_the_right_parent_only(
    warden: ModuleType, sleeper: subprocess.Popen[bytes]
) -> None:
    """A number that was read a moment ago may be another's by now."""
    warden._signal(sleeper.pid, signal.SIGKILL, 1)
    time.sleep(0.05)
    assert sleeper.poll() is None
    warden._signal(sleeper.pid, signal.SIGKILL, os.getpid())
    assert sleeper.wait(5) == -signal.SIGKILL


def test_children_are_found_without_the_kernels_list(
    warden: ModuleType, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = sorted(warden._children(os.getpid()))
    monkeypatch.setattr(warden, "_LISTED", False)
    assert sorted(warden._children(os.getpid())) == listed
    assert sleeper.pid in listed


def test_a_process_whose_parent_is_gone_already_ends(warden: ModuleType) -> None:
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            warden.namespaces.die_with_parent(1 if os.getppid() != 1 else 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 125


@pytest.fixture
def box(request: pytest.FixtureRequest, tools: dict[str, Toolchain | str]) -> Iterator[Run]:
    """Run Python code in one back-end."""
    name: str = request.param
    if _problem(name):
        pytest.skip(_problem(name))
    found = tools["python"]
    assert isinstance(found, Toolchain)
    made = backends.make(name, found.mounts, 2)

    def run(code: str, limits: Limits = QUICK, **options: object) -> attacks.Execution:
        argv = [found.programs["python3"], "-S", "-s", "-B", "/box/main.py"]
        files = {"main.py": code.encode()}
        return made.run(backends.Job(argv, files, limits=limits, **options))  # type: ignore[arg-type]

    yield run
    made.close()


Run = Callable[..., attacks.Execution]
in_both = pytest.mark.parametrize("box", BACKENDS, indirect=True)


@in_both
def test_memory_that_processes_share_counts_once(box: Run) -> None:
    """After a fork both have the same pages until one writes: 9 x 40 MiB would be too much."""
    ran = box(
        "import os, time\nheld = b'x' * (40 << 20)\n"
        "for _ in range(8):\n    if not os.fork():\n        time.sleep(0.5)\n        os._exit(0)\n"
        "time.sleep(0.4)\nprint(len(held))"
    )
    assert ran.killed_for is None
    assert ran.stdout == b"%d\n" % (40 << 20)


@in_both
def test_the_boxes_own_processes_do_not_count(box: Run) -> None:
    """What the sandbox needs to build a box is not the program's time, nor its memory."""
    ran = box("import time\ntime.sleep(0.3)", QUICK.with_(memory_bytes=16 * MIB, cpu_seconds=0.3),
              address_space=False)  # fmt: skip
    assert ran.killed_for is None
    assert ran.ok


@in_both
def test_killed_children_are_counted(box: Run) -> None:
    """What a killed process used counts as much as what one used that ended by itself."""
    code = (
        "import os, signal, time\nfor _ in range(6):\n    pid = os.fork()\n"
        "    if not pid:\n        while True: pass\n"
        "    time.sleep(0.1)\n    os.kill(pid, signal.SIGKILL)\n    os.wait()\n"
    )
    ran = box(code, QUICK.with_(cpu_seconds=5))
    assert ran.ok
    assert ran.cpu_seconds > 0.1


@in_both
def test_a_report_cannot_be_forged(box: Run) -> None:
    """Whatever a program writes, and wherever: its exit status is its own."""
    attack = attacks.BY_NAME["a report in the warden's name"]
    facts = b'{"calls": {}}'
    for _ in range(3):
        ran = box(
            attacks.PRELUDE.replace('open("facts.json")', f"__import__('io').BytesIO({facts!r})")
            + attack.code
        )
        assert (ran.exit_code, ran.problem, ran.killed_for) == (7, "", None)


@in_both
@pytest.mark.parametrize("number", [1, 2, 3, 126, 127, 128, 129, 130, 160, 255])
def test_exit_status_is_told_as_it_is(box: Run, number: int) -> None:
    ran = box(f"import os\nos._exit({number})")
    assert (ran.exit_code, ran.signal) == (number, None)


@in_both
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGFPE])
def test_signal_is_told_as_it_is(box: Run, number: int) -> None:
    ran = box(f"import os\nos.kill(os.getpid(), {int(number)})")
    assert (ran.exit_code, ran.signal) == (None, int(number))


@in_both
def test_a_pipe_with_a_name_can_be_made(box: Run) -> None:
    """The filter forbids devices, and not what shell scripts need."""
    assert box("import os\nos.mkfifo('/tmp/pipe')").ok


@in_both
def test_devices_work(box: Run) -> None:
    ran = box(
        "import os\nopen('/dev/null', 'w').write('x')\n"
        "read = open('/dev/zero', 'rb').read(3) + open('/dev/urandom', 'rb').read(5)\n"
        "print(read[:3], len(read), os.listdir('/dev/fd')[:3], open('/dev/stdin').read(),"
        " file=open('/dev/stdout', 'w'))"
    )
    assert ran.stderr == b""
    assert ran.stdout == b"b'\\x00\\x00\\x00' 8 ['0', '1', '2'] \n"


@pytest.mark.parametrize("box", ["unshare"], indirect=True)
def test_times_of_the_hosts_devices_stay(box: Run) -> None:
    """bwrap binds devices so that their times can be changed: a gap, and a small one."""
    before = Path("/dev/null").stat().st_mtime_ns
    ran = box(
        "import os\ntry:\n    os.utime('/dev/null')\nexcept OSError as error:\n"
        "    print(error.errno)"
    )
    assert ran.stdout == b"30\n"
    assert Path("/dev/null").stat().st_mtime_ns == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.skipif(os.getuid() != 0, reason="only root has folders that its boxes cannot reach")
def test_a_folder_below_one_of_roots_own_can_be_shown(backend: str, tmp_path: Path) -> None:
    """A toolchain may lie in root's home, where the box's user may not go; and it sees it."""
    if _problem(backend):
        pytest.skip(_problem(backend))
    tmp_path.chmod(0o700)
    (tmp_path / "tools").mkdir(mode=0o755)
    (tmp_path / "tools" / "tool.txt").write_text("a tool", encoding="ascii")
    made = backends.make(backend, [str(tmp_path / "tools")], 1)
    try:
        ran = made.run(backends.Job(["cat", str(tmp_path / "tools" / "tool.txt")]))
        root = made.run(backends.Job(["ls", "/root"]))
    finally:
        made.close()
    assert ran.stdout == b"a tool"
    assert root.stdout == b""
