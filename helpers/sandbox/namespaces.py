"""A box made of Linux name spaces, by system calls alone: nothing needs to be installed.

Runs in the warden, a small process of its own (see `helpers.sandbox.warden`), which is why it
imports the standard library only. `enter` is called in a fresh child: it builds a file system
that holds nothing but what the box needs, gives up every right, and starts the program.

Source: Linux manual pages unshare(2), user_namespaces(7), pivot_root(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import stat
import struct

TYPE_CHECKING = False  # what is not imported need not be copied for each box
if TYPE_CHECKING:
    from typing import Any, NoReturn

_NEW = {
    "files": 0x00020000,  # mounts
    "cgroup": 0x02000000,
    "host name": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "processes": 0x20000000,
    "network": 0x40000000,
}
_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC, _REMOUNT = 1, 2, 4, 8, 32
_NO_ATIME, _NO_DIRATIME, _BIND, _RECURSIVE = 1024, 2048, 4096, 16384
_PRIVATE, _RELATIME = 1 << 18, 1 << 21
_OPTIONS = {
    "ro": _READ_ONLY,
    "nosuid": _NO_SUID,
    "nodev": _NO_DEV,
    "noexec": _NO_EXEC,
    "noatime": _NO_ATIME,
    "nodiratime": _NO_DIRATIME,
    "relatime": _RELATIME,
}
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_SET_CHILD_SUBREAPER = 36
_CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # version 3, of this process
_PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47
INODES = 20_000  # files in each of the box's own file systems

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Call mount(2)."""
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode(),
        ),
        f"mount {target}",
    )


def unshare(flags: int) -> None:
    """Call unshare(2)."""
    _checked(_libc.unshare(flags), "unshare")


def prctl(option: int, *values: Any) -> None:
    """Call prctl(2) with up to four arguments."""
    padded = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in values]
    padded += [ctypes.c_ulong(0)] * (4 - len(padded))
    _checked(_libc.prctl(option, *padded), f"prctl {option}")


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; it may have ended already."""
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(125)


def adopt_orphans() -> None:
    """Become the parent of processes below whose own parent ended."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def not_inspectable(value: bool = True) -> None:
    """Close (or open) this process's memory and its /proc files to others of the same user."""
    prctl(_PR_SET_DUMPABLE, 0 if value else 1)


def give_up_rights() -> None:
    """Drop every capability, for good, and the way to get one by a set-uid program."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) == -1:
            break  # the kernel knows no further one
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)
    _checked(_libc.capset(_CAPABILITIES, struct.pack("=6I", 0, 0, 0, 0, 0, 0)), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def keep_rights() -> None:
    """Hand every capability on to the program that this process starts: for tests only."""
    _checked(_libc.capset(_CAPABILITIES, struct.pack("=6I", *[0xFFFFFFFF] * 6)), "capset")
    for capability in range(64):
        _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(2), ctypes.c_ulong(capability), 0, 0)


def set_filter(program: bytes) -> None:
    """Put a seccomp filter (see `helpers.sandbox.seccomp.build`) on this process."""
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filter_ = Program(len(program) // 8, ctypes.addressof(buffer))
    prctl(_PR_SET_SECCOMP, 2, ctypes.byref(filter_))


def set_limits(limits: dict[str, int]) -> None:
    """Set resource limits by name, such as ``{"AS": 268435456}``, soft and hard alike."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        top = resource.getrlimit(kind)[1]
        value = value if top == resource.RLIM_INFINITY else min(value, top)
        resource.setrlimit(kind, (value, value))


def bind_private(folders: list[str]) -> dict[str, str]:
    """As root: make folders that only root can reach visible to the box's user.

    The rest of the machine sees nothing of it, since it happens in a mount name space of this
    process and its children.

    Returns
    -------
    folder -> where it lies for the box's user; empty if the machine does not allow it
    """
    if not folders:
        return {}
    held: list[int] = []
    try:
        unshare(_NEW["files"])
        mount("none", "/", "", _RECURSIVE | _PRIVATE)
        held = [os.open(folder, os.O_PATH) for folder in folders]
        # This covers what lay there. Best is a place that nobody else can reach anyway.
        closed = [place for place in ("/root", "/lost+found") if _closed(place)]
        place = (closed or ["/mnt"])[0]
        mount("tmpfs", place, "tmpfs", _NO_SUID | _NO_DEV, "size=1m,mode=755")
        found: dict[str, str] = {}
        for number, (folder, source) in enumerate(zip(folders, held, strict=True)):
            _bind(source, f"{place}/{number}")
            found[folder] = f"{place}/{number}"
        return found
    except OSError:
        return {}
    finally:
        for descriptor in held:
            os.close(descriptor)


def _closed(place: str) -> bool:
    """Whether a folder is there, and only its owner can reach what lies in it."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077


def enter(
    plan: dict[str, Any], files: dict[str, int], report: int, marker: int
) -> NoReturn:  # fmt: skip
    """Build the box around this process and run the program in it. Does not return.

    Parameters
    ----------
    plan : ``argv``, ``env``, ``binds`` (source, target), ``links`` (target, path),
        ``texts`` (path -> text), ``devices``, ``masks`` (files and folders of /proc to
        cover), ``space`` (bytes of each of /box, /tmp and /dev/shm), ``rlimits``,
        ``filter`` (the seccomp program, or empty), and ``without`` (walls to leave out:
        tests only)
    files : name in /box -> descriptor to copy from
    report : descriptor for the wait status and the processor time of the program
    marker : descriptor that gets one byte just before the program starts
    """
    without = set(plan["without"])
    user, group = os.getuid(), os.getgid()
    not_inspectable(False)  # or the maps below would belong to root
    flags = 0
    for name, flag in _NEW.items():
        if name not in without:
            flags |= flag
    unshare(flags | _NEW["files"] | _NEW["user"])
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"65534 {user} 1")
    write("/proc/self/gid_map", f"65534 {group} 1")
    outer = os.getpid()
    alive, own_end = os.pipe()
    first = os.fork()
    if first:
        os.close(report)
        os.close(marker)
        os.close(alive)
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    os.close(own_end)
    # From inside, the outer process has no number. Its end of a pipe tells if it lives.
    die_with_parent(outer if "processes" in without else 0)
    if select.select([alive], [], [], 0)[0]:
        os._exit(125)
    os.close(alive)
    _build(plan, files, without)
    not_inspectable()  # before there is anyone inside who could look
    program = os.fork()
    if not program:
        _become(plan, marker, without)
    os.close(marker)
    give_up_rights()
    if plan["filter"]:
        set_filter(bytes.fromhex(plan["filter"]))
    status = 0
    while True:
        child, ended = os.wait()
        if child == program:
            status = ended
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    os.write(report, struct.pack("=idq", status, seconds, used.ru_maxrss))
    os._exit(0)


def _become(plan: dict[str, Any], marker: int, without: set[str]) -> NoReturn:
    """Give up all rights and start the program in this process."""
    try:
        os.setsid()
        set_limits(plan["rlimits"])
        if "rights" not in without:
            give_up_rights()
        else:
            keep_rights()
        keep = os.dup2(marker, 3)
        os.closerange(4, 1 << 16)
        os.set_inheritable(keep, False)
        if plan["filter"]:
            set_filter(bytes.fromhex(plan["filter"]))
        os.write(keep, b"1")
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode("utf-8", "backslashreplace"))
        os._exit(125)
    run_program(plan["argv"], plan["env"])


def run_program(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Replace this process by a program; end as a shell does if there is no such program."""
    try:
        os.execve(argv[0], argv, env)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        os.write(2, f"{argv[0]}: {words}\n".encode("utf-8", "backslashreplace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _build(plan: dict[str, Any], files: dict[str, int], without: set[str]) -> None:
    """Make the box's root folder and move into it; nothing of the old one stays reachable."""
    base = "/tmp"
    mount("none", "/", "", _RECURSIVE | _PRIVATE)
    # Opened before the box's root hides what lies below its place.
    held = {source: os.open(source, os.O_PATH) for source, _ in plan["binds"]}
    mount("tmpfs", base, "tmpfs", _NO_SUID | _NO_DEV, "size=4m,mode=755")
    os.umask(0o022)
    for target, path in plan["links"]:
        os.makedirs(os.path.dirname(base + path), exist_ok=True)
        os.symlink(target, base + path)
    for path, text in plan["texts"].items():
        os.makedirs(os.path.dirname(base + path), exist_ok=True)
        write(base + path, text)
    inside = ("/tmp/", "/box/")  # these come after the box's own folders are mounted
    for source, target in plan["binds"]:
        if not target.startswith(inside):
            _bind(held[source], base + target)
    if "files" not in without:
        _seal(base, ())
    _mount_proc(base, without)
    _make_devices(base, plan["devices"])
    safe = _NO_SUID | _NO_DEV
    own = "mode=700"
    if "limit space" not in without:
        own += f",size={plan['space']},nr_inodes={INODES}"
    for folder in ("/tmp", "/box", "/dev/shm"):
        os.makedirs(base + folder, exist_ok=True)
        mount("tmpfs", base + folder, "tmpfs", safe, own)
    late = [bind for bind in plan["binds"] if bind[1].startswith(inside)]
    for source, target in late:
        _bind(held[source], base + target)
    for descriptor in held.values():
        os.close(descriptor)
    if late and "files" not in without:
        _seal(base, (f"{base}/tmp", f"{base}/box"))
    if not {"processes", "masks"} & without:
        _mask(f"{base}/proc", f"{base}/dev", *plan["masks"])
    mount("none", f"{base}/dev", "", _BIND | _REMOUNT | _READ_ONLY | _NO_SUID | _NO_EXEC)
    for name, descriptor in files.items():
        path = f"{base}/box/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        copy(descriptor, path)
    if "host name" not in without:
        _checked(_libc.sethostname(b"box", 3), "sethostname")
        _checked(_libc.setdomainname(b"(none)", 6), "setdomainname")
    os.chdir(base)
    if "root" in without:
        os.chroot(".")
        os.chdir("/box")
        return
    number = _PIVOT_ROOT[os.uname().machine]
    _checked(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", _DETACH), "umount2")
    os.chdir("/")
    mount("none", "/", "", _BIND | _REMOUNT | _READ_ONLY | safe)
    os.chdir("/box")


def _mount_proc(base: str, without: set[str]) -> None:
    """Show the box's processes, and no others."""
    os.mkdir(f"{base}/proc")
    if "processes" in without:  # the machine's own can only be shown as it is
        mount("/proc", f"{base}/proc", "", _BIND | _RECURSIVE)
    else:
        mount("proc", f"{base}/proc", "proc", _NO_SUID | _NO_DEV | _NO_EXEC)
    if "user" not in without:
        write(f"{base}/proc/sys/user/max_user_namespaces", "0", forgive=True)


def _make_devices(base: str, names: list[str]) -> None:
    os.mkdir(f"{base}/dev")
    mount("tmpfs", f"{base}/dev", "tmpfs", _NO_SUID | _NO_EXEC, "size=64k,mode=755")
    for name in names:
        place = f"{base}/dev/{name}"
        write(place, "")
        mount(f"/dev/{name}", place, "", _BIND)
        # Read-only, a device still takes data; but its own times and marks stay as they are.
        mount("none", place, "", _BIND | _REMOUNT | _READ_ONLY | _kept(place))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{base}/dev/{name}")
    os.symlink("/proc/self/fd", f"{base}/dev/fd")
    os.mkdir(f"{base}/dev/shm")


def _mask(proc: str, dev: str, files: list[str], folders: list[str]) -> None:
    """Cover what the box's /proc says about the machine, and about the sandbox itself."""
    for name in files:
        if os.path.exists(f"{proc}/{name}"):
            mount(f"{dev}/null", f"{proc}/{name}", "", _BIND)
    empty = f"{dev}/.empty"
    os.mkdir(empty, 0o555)
    for name in folders:
        if os.path.isdir(f"{proc}/{name}"):
            mount(empty, f"{proc}/{name}", "", _BIND)
            mount("none", f"{proc}/{name}", "", _BIND | _REMOUNT | _READ_ONLY | _kept(empty))
    if os.path.isdir(f"{proc}/sys"):
        mount(f"{proc}/sys", f"{proc}/sys", "", _BIND)
        mount("none", f"{proc}/sys", "", _BIND | _REMOUNT | _READ_ONLY | _kept(proc))


def _kept(path: str) -> int:
    """The flags of a mount that may not be taken away when it is mounted again."""
    found = os.statvfs(path).f_flag  # its bits are those of mount, but for one
    flags = found & (_READ_ONLY | _NO_SUID | _NO_DEV | _NO_EXEC | _NO_ATIME | _NO_DIRATIME)
    return flags | (_RELATIME if found & 4096 else 0)


def _bind(source: int, target: str) -> None:
    """Show what a descriptor stands for at a path.

    What lies there already, in a folder that was shown before, is neither changed nor made.
    """
    if not os.path.lexists(target):
        if stat.S_ISDIR(os.fstat(source).st_mode):
            os.makedirs(target)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    mount(f"/proc/self/fd/{source}", target, "", _BIND | _RECURSIVE)


def _seal(base: str, own: tuple[str, ...]) -> None:
    """Make every folder that was bound read-only, with those mounted inside it.

    The box's own file systems, and what lies in /dev and /proc, are left as they are.
    """
    with open("/proc/self/mountinfo", "rb") as file:
        rows = [line.split() for line in file]
    for row in rows:
        path = _unescape(row[4])
        left = path in own or f"{path}/".startswith((f"{base}/dev/", f"{base}/proc/"))
        if path.startswith(base + "/") and not left:
            kept = 0  # what a mount forbids may not be allowed again
            for option in row[5].split(b","):
                kept |= _OPTIONS.get(option.decode(), 0)
            flags = kept | _READ_ONLY | _NO_SUID | _NO_DEV
            mount("none", path, "", _BIND | _REMOUNT | flags)


def _unescape(text: bytes) -> str:
    """Undo the octal escapes of a path in mountinfo, such as ``\\040`` for a space."""
    parts = text.split(b"\\")
    rest = b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts[1:])
    return os.fsdecode(parts[0] + rest)


def write(path: str, text: str, forgive: bool = False) -> None:
    """Write a small file with as little work as can be: it happens often, in a fresh process."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError:
        if not forgive:
            raise


def copy(source: int, path: str) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755)
    offset, size = 0, os.fstat(source).st_size
    while offset < size:
        offset += os.sendfile(target, source, offset, size - offset)
    os.close(target)
