"""Attacks on the sandbox, as data, and a driver that runs all of them in one back-end.

Each attack is a small program. Most end with one line of JSON that says whether they got through;
the others are to be ended by a limit. A program that ends in neither way proves nothing, and counts
as a failure. The driver is a process of its own (``python sandbox_attacks.py SETTINGS``), so that
the attacks can be run as root and as an ordinary user. It needs the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _SETTINGS = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, _SETTINGS["library"])

from helpers.sandbox import backends, seccomp
from helpers.sandbox.languages import LANGUAGES, Toolchain, toolchains
from helpers.sandbox.records import MIB, Execution, Limits, SandboxError

# Little is enough for each, and the time on the clock is long: the machine may be busy.
QUICK = Limits(
    cpu_seconds=3, wall_seconds=40, memory_bytes=96 * MIB, processes=40, output_bytes=64 << 10,
    file_bytes=8 * MIB, open_files=64,
)  # fmt: skip
SHORT = QUICK.with_(cpu_seconds=0.2)  # for those that only processor time ends
WAITING = QUICK.with_(wall_seconds=1.0)  # for those that only the clock ends
LARGE = QUICK.with_(
    cpu_seconds=6, memory_bytes=256 * MIB, processes=80, file_bytes=16 * MIB, open_files=256
)


@dataclass(frozen=True)
class Attack:
    """One program that tries to get out of the box, or to bring down what is around it.

    Attributes
    ----------
    ends : how it may end: ``report`` (a line of JSON), the limit that ends it, or ``error`` (an
        exit status or a signal of its own)
    runs : how often it runs; the last run is judged
    bare : whether it is harmless, and gets through, where nothing but limits holds it back
    seconds : it must have ended by then, if given
    choice : what a compiled program reads from stdin, to know which of the attacks it is
    """

    name: str
    family: str
    code: str
    language: str = "python"
    ends: tuple[str, ...] = ("report",)
    limits: Limits = QUICK
    address_space: bool = True
    runs: int = 1
    bare: bool = False
    seconds: float = 0.0
    choice: str = ""


PRELUDE = r'''
import ctypes, errno, json, mmap, os, resource, signal, socket, struct, subprocess, sys, threading
import time
FACTS = json.load(open("facts.json"))
libc = ctypes.CDLL(None, use_errno=True)

def report(escaped, detail=""):
    print(json.dumps({"escaped": bool(escaped), "detail": str(detail)[:600]}), flush=True)
    os._exit(0)

def none(**actions):
    """Report an escape if any of these works."""
    worked, failed = [], {}
    for name, action in actions.items():
        try:
            result = action()
        except Exception as error:
            failed[name] = repr(error)[:60]
        else:
            (worked.append(name) if result is not False else failed.update({name: False}))
    report(worked, worked or failed)

def syscall(name, *args):
    """The error of a system call; 0 if it works."""
    number = FACTS["calls"][name] if isinstance(name, str) else name
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    words += [ctypes.c_long(0)] * (6 - len(words))
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *words) == -1 else 0

def passes(name, *args):
    return lambda: syscall(name, *args) == 0

def opens(path, flags=os.O_RDONLY):
    return lambda: os.close(os.open(path, flags))

def secret_in(path):
    return lambda: FACTS["secret"] in open(path, errors="replace").read(1 << 16)

def packet(family, address):
    """Send a packet to the host, and find out whether it arrived."""
    def action():
        link = socket.socket(family, socket.SOCK_DGRAM)
        link.connect((address, FACTS["udp4"]))
        for _ in range(2):  # if nobody listens there, the second one fails
            link.send(b"hello")
            time.sleep(0.1)
    return action

def child(action):
    """What waitpid says of a child that does something."""
    pid = os.fork()
    if not pid:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]
'''


def _python(name: str, family: str, code: str, **options: Any) -> Attack:
    return Attack(name, family, code, **options)


NETWORK = [
    _python("tcp over IPv4", "network", r"""
none(connect=lambda: socket.create_connection(("127.0.0.1", FACTS["tcp4"]), 3))
""", bare=True),
    _python("tcp over IPv6", "network", r"""
none(connect=lambda: socket.create_connection(("::1", FACTS["tcp6"]), 3))
""", bare=True),
    _python("udp over IPv4", "network", r"""
none(send=packet(socket.AF_INET, "127.0.0.1"))
""", bare=True),
    _python("udp over IPv6", "network", r"""
none(send=packet(socket.AF_INET6, "::1"))
""", bare=True),
    # Connecting sends no packet: it only asks for a route.
    _python("a route to the world", "network", r"""
def route(family, address):
    return lambda: socket.socket(family, socket.SOCK_DGRAM).connect((address, 53))
none(v4=route(socket.AF_INET, "192.0.2.1"), v6=route(socket.AF_INET6, "2001:db8::1"))
"""),
    _python("raw, icmp and packet sockets", "network", r"""
def opens_socket(*kind):
    return lambda: socket.socket(*kind)
none(
    raw=opens_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ping=opens_socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    packet=opens_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
)
"""),
    _python("netlink: the host's interfaces", "network", r"""
def ask():
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    link.settimeout(3)
    link.send(struct.pack("=IHHII", 20, 18, 0x301, 1, 0) + bytes(4))
    return b"lo\0" in link.recv(1 << 16)
none(links=ask)
""", bare=True),
    _python("vsock to the hypervisor", "network", r"""
def connect():
    talk = socket.socket(40, socket.SOCK_STREAM)
    talk.settimeout(1)
    talk.connect((2, 1024))
none(socket=lambda: socket.socket(40, socket.SOCK_STREAM), connect=connect)
"""),
    _python("bluetooth, can and the kernel's cryptography", "network", r"""
def opens_socket(*kind):
    return lambda: socket.socket(*kind)
none(bluetooth=opens_socket(31, 3, 1), can=opens_socket(29, 3, 1), alg=opens_socket(38, 5, 0))
"""),
    _python("sockets of every family", "network", r"""
opened = []
for family in range(2, 47):
    for kind in (1, 2, 3, 4, 5):
        made = libc.socket(family, kind, 0)
        if made >= 0:
            opened.append((family, kind))
            os.close(made)
report(opened, opened)
""", bare=True),
    _python("socket pairs that are not local", "network", r"""
pair = (ctypes.c_int * 2)()
made = [family for family in range(2, 47) if libc.socketpair(family, 1, 0, pair) == 0]
made += [family for family in range(2, 47) if libc.socketpair(family, 5, 0, pair) == 0]
report(made, made)
"""),
    _python("a socket with a path on the host", "network", r"""
none(connect=lambda: socket.socket(socket.AF_UNIX).connect(FACTS["unix"]))
""", bare=True),
    _python("a socket with a name only, on the host", "network", r"""
none(connect=lambda: socket.socket(socket.AF_UNIX).connect("\0" + FACTS["abstract"]))
""", bare=True),
    _python("log, bus and display of the host", "network", r"""
def connect(path, kind=socket.SOCK_STREAM):
    return lambda: socket.socket(socket.AF_UNIX, kind).connect(path)
none(
    log=connect("/dev/log", socket.SOCK_DGRAM), journal=connect("/run/systemd/journal/stdout"),
    bus=connect("/run/dbus/system_bus_socket"), x11=connect("/tmp/.X11-unix/X0"),
    display=connect("\0/tmp/.X11-unix/X0"), nscd=connect("/run/nscd/socket"),
)
"""),
    _python("names of hosts", "network", r"""
none(
    world=lambda: socket.getaddrinfo("example.com", 80),
    server=lambda: open("/etc/resolv.conf").read(),
)
"""),
    _python("listening", "network", r"""
def listen(family, address):
    def action():
        server = socket.socket(family)
        server.bind((address, 0))
        server.listen()
    return action
none(v4=listen(socket.AF_INET, "0.0.0.0"), v6=listen(socket.AF_INET6, "::"))
""", bare=True),
    _python("what /proc and /sys know of the network", "network", r"""
names = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
names += os.listdir("/sys/class/net") if os.path.exists("/sys/class/net") else []
routes = [open(path).read().splitlines()[1:] for path in ("/proc/net/tcp", "/proc/net/route")]
report(set(names) - {"lo"} or any(routes), (names, routes))
""", bare=True),
    _python("more room in a socket", "network", r"""
one, other = socket.socketpair()
before = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * before)
after = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
report(after > before, (before, after))
""", bare=True),
    Attack("bash: /dev/tcp", "network", r"""
if (echo hello > /dev/tcp/127.0.0.1/@tcp4@) 2> /dev/null; then
    echo '{"escaped": true, "detail": ""}'
else
    echo '{"escaped": false, "detail": ""}'
fi
""", "bash", bare=True),
]  # fmt: skip

FILES = [
    _python("a file in the host's temporary folder", "files", r"""
none(read=secret_in(FACTS["canary"]),
     list=lambda: "canary.txt" in os.listdir(FACTS["folder"]))
""", bare=True),
    _python("passwords", "files", r"""
none(shadow=opens("/etc/shadow"), gshadow=opens("/etc/gshadow"), sudoers=opens("/etc/sudoers"),
     ssh=opens("/etc/ssh/sshd_config"), users=lambda: "root:" in open("/etc/passwd").read(),
     machine=opens("/etc/machine-id"))
""", bare=True),
    _python("home folders", "files", r"""
def shown(path):
    return lambda: bool([name for name in os.listdir(path) if name not in FACTS["shown"]])
none(root=shown("/root"), home=shown("/home"), own=shown(FACTS["home"]),
     keys=opens(FACTS["home"] + "/.ssh/id_rsa"), history=opens(FACTS["home"] + "/.bash_history"))
"""),
    _python("folders of the host", "files", r"""
there = [path for path in ("/var", "/run", "/opt", "/srv", "/sys", "/boot", "/media", "/old_root")
         if os.path.exists(path) and set(os.listdir(path)) - set(FACTS["shown"])]
report(there, there)
""", bare=True),
    _python("writing to the system", "files", r"""
places = ["/", "/usr", "/usr/bin", "/usr/local/lib", "/bin", "/sbin", "/lib", "/lib64", "/etc",
          "/etc/alternatives", "/var/tmp", "/dev", "/proc", "/proc/sys", "/root", "/home", "/mnt"]
def write(path):
    return lambda: opens(path + "/planted", os.O_CREAT | os.O_WRONLY)()
none(**{path: write(path) for path in places})
"""),
    _python("changing the system's files", "files", r"""
places = ["/bin/sh", "/etc/ld.so.cache", "/etc/passwd", "/usr/bin/env", sys.executable]
none(**{f"open {path}": opens(path, os.O_WRONLY) for path in places},
     **{f"mode {path}": lambda path=path: os.chmod(path, 0o777) for path in places},
     **{f"time {path}": lambda path=path: os.utime(path) for path in places},
     **{f"remove {path}": lambda path=path: os.unlink(path) for path in places})
"""),
    _python("writing where the host lets everyone write", "files", r"""
shared = FACTS["shared"]
none(make=opens(shared + "/planted", os.O_CREAT | os.O_WRONLY),
     write=opens(shared + "/there.txt", os.O_WRONLY),
     cut=lambda: os.truncate(shared + "/there.txt", 0),
     folder=lambda: os.mkdir(shared + "/planted-folder"),
     link=lambda: os.symlink("/", shared + "/planted-link"),
     move=lambda: os.rename(shared + "/there.txt", shared + "/moved.txt"),
     remove=lambda: os.unlink(shared + "/there.txt"),
     pipe=lambda: os.mkfifo(shared + "/planted-pipe"),
     socket=lambda: socket.socket(socket.AF_UNIX).bind(shared + "/planted-socket"))
""", bare=True),
    _python("marks on the host's files", "files", r"""
path = FACTS["shared"] + "/there.txt"
none(time=lambda: os.utime(path), mode=lambda: os.chmod(path, 0o777),
     owner=lambda: os.chown(path, os.getuid(), -1),
     attribute=lambda: os.setxattr(path, "user.planted", b"1"))
""", bare=True),
    _python("a file opened for reading, opened again for writing", "files", r"""
source = os.open(FACTS["shared"] + "/there.txt", os.O_RDONLY)
none(again=opens(f"/proc/self/fd/{source}", os.O_WRONLY),
     dev=opens(f"/dev/fd/{source}", os.O_RDWR),
     write=lambda: os.write(source, b"x"), cut=lambda: os.ftruncate(source, 0),
     splice=lambda: os.copy_file_range(os.open("/etc/passwd", os.O_RDONLY), source, 10))
""", bare=True),
    _python("symbolic links out of the box", "files", r"""
for number, target in enumerate([FACTS["canary"], "/proc/1/root", "/", "../../../.."]):
    os.symlink(target, f"link{number}")
none(file=secret_in("link0"), root=secret_in("link1" + FACTS["canary"]),
     top=secret_in("link2" + FACTS["canary"]), up=secret_in("link3" + FACTS["canary"]))
""", bare=True),
    _python("hard links into the box", "files", r"""
none(shared=lambda: os.link(FACTS["shared"] + "/there.txt", "mine"),
     canary=lambda: os.link(FACTS["canary"], "mine-too"),
     shell=lambda: os.link("/bin/sh", "shell"),
     handle=lambda: os.link(f"/proc/self/fd/{os.open('/bin/sh', os.O_RDONLY)}", "shell-too"))
"""),
    _python("roots and folders of other processes", "files", r"""
def inside(pid, place):
    return secret_in(f"/proc/{pid}/{place}{FACTS['canary']}")
pids = ["self", "1", "2", str(FACTS["caller"]), str(FACTS["victim"]), "thread-self"]
none(**{f"{pid} {place}": inside(pid, place) for pid in pids for place in ("root", "cwd")})
""", bare=True),
    _python("two dots", "files", r"""
none(relative=secret_in("../" * 40 + FACTS["canary"]),
     below=secret_in("/box/.." + FACTS["canary"]),
     shared=secret_in(FACTS["shared"] + "/../canary.txt"),
     proc=secret_in("/proc/self/cwd/../.." + FACTS["canary"]))
""", bare=True),
    _python("out of a root by chroot", "files", r"""
def leave():
    os.makedirs("inner", exist_ok=True)
    top = os.open(".", os.O_RDONLY)
    os.chroot("inner")
    os.fchdir(top)
    for _ in range(60):
        os.chdir("..")
    os.chroot(".")
    return os.path.exists("/etc/shadow") or os.path.exists(FACTS["canary"])
none(leave=leave)
"""),
    _python("files by number (open_by_handle_at)", "files", r"""
class Handle(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 128))
fd = os.open("/usr", os.O_RDONLY)
def by_number(inode):
    handle = Handle(8, 1)
    handle.data[:8] = struct.pack("=II", inode, 0)
    return passes("open_by_handle_at", fd, ctypes.byref(handle), os.O_RDONLY)
own, mount = Handle(128), ctypes.c_int()
none(root=by_number(2), name=passes(
    "name_to_handle_at", fd, b"", ctypes.byref(own), ctypes.byref(mount), 0x1000))
"""),
    _python("mounting again, for writing", "files", r"""
def remount(path):
    def action():
        if syscall("mount", b"none", path.encode(), 0, 4096 | 32, 0):
            return False
        open(path + "/planted", "w").close()
    return action
attributes = struct.pack("=QQQQ", 0, 1, 0, 0)  # no longer read-only
none(shared=remount(FACTS["shared"]), usr=remount("/usr"), root=remount("/"), sys=remount("/proc"),
     attributes=passes("mount_setattr", -100, FACTS["shared"].encode(), 0, attributes, 32))
"""),
    _python("taking mounts away", "files", r"""
none(**{f"{path} {flag}": passes("umount2", path.encode(), flag)
        for path in ("/proc", "/proc/1", "/dev", "/dev/null", "/usr", "/box", "/tmp", "/")
        for flag in (0, 1, 2, 8)})
"""),
    _python("mounts of every kind", "files", r"""
os.mkdir("here")
def mount(kind, source=b"none", flags=0, data=b""):
    return passes("mount", source, b"here", kind, flags, data)
none(bind=mount(b"", b"/", 4096), tmpfs=mount(b"tmpfs"), proc=mount(b"proc"),
     sys=mount(b"sysfs"), overlay=mount(b"overlay", data=b"lowerdir=/usr:/etc"),
     disk=mount(b"ext4", FACTS["disk"].encode()), debug=mount(b"debugfs"),
     groups=mount(b"cgroup2"), shared=mount(b"", b"none", 1 << 20),
     new=passes("fsopen", b"tmpfs", 0), tree=passes("open_tree", -100, b"/", 1),
     move=passes("move_mount", -100, b"/usr", -100, b"here", 0),
     pivot=passes("pivot_root", b".", b"here"))
"""),
    _python("device files of one's own", "files", r"""
def make(name, kind, major, minor):
    def action():
        os.mknod(name, kind | 0o666, os.makedev(major, minor))
        os.open(name, os.O_RDONLY)
    return action
none(memory=make("mem", 0o020000, 1, 1), kernel=make("kmsg", 0o020000, 1, 11),
     zero=make("zero", 0o020000, 1, 5), disk=make("disk", 0o060000, *FACTS["disk_number"]))
"""),
    _python("devices of the host", "files", r"""
names = ["mem", "kmem", "kmsg", "port", "fuse", "kvm", "net/tun", "ptmx", "tty", "tty0", "console",
         "loop-control", "loop0", "snd", "input", "dri", "vhost-net", "vsock", "userfaultfd",
         "uinput", "rtc", "rtc0", "hpet", "nvidia0", "nvidiactl", "autofs", "btrfs-control",
         "cuse", "vfio/vfio", "mapper/control", *FACTS["devices"]]
none(**{name: opens("/dev/" + name) for name in names},
     more=lambda: bool(set(os.listdir("/dev")) - {"null", "zero", "full", "random", "urandom", "fd",
                       "stdin", "stdout", "stderr", "shm", ".empty"}))
""", bare=True),
    _python("sockets of container engines", "files", r"""
there = [path for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd",
         "/run/podman", "/run/user", "/.dockerenv") if os.path.exists(path)]
report(there, there)
"""),
    _python("what the box before left behind", "files", r"""
places = ("/tmp", "/box", "/dev/shm", "/var/tmp", ".")
found = [place for place in places if os.path.exists(f"{place}/left-{FACTS['mark']}")]
for place in places:
    try:
        open(f"{place}/left-{FACTS['mark']}", "w").close()
    except OSError:
        pass
report(found, found)
""", runs=2),
    _python("descriptors that were left open", "files", r"""
held = sorted(int(name) for name in os.listdir("/proc/self/fd"))
report(held != [0, 1, 2, 3], held)  # the last is the one that lists
"""),
    _python("input that others share", "files", r"""
none(write=lambda: os.write(0, b"x"), cut=lambda: os.ftruncate(0, 0),
     again=lambda: os.write(os.open("/proc/self/fd/0", os.O_RDWR), b"x"),
     grow=lambda: os.ftruncate(0, 1 << 20))
"""),
    _python("who uses which file", "files", r"""
none(watch=lambda: libc.inotify_init1(0) >= 0, old=lambda: libc.inotify_init() >= 0,
     all=passes("fanotify_init", 0, 0),
     lease=lambda: __import__("fcntl").fcntl(
         os.open("/usr", os.O_RDONLY), 1026, 0x80000001))
""", bare=True),
]  # fmt: skip

PROCFS = [
    _python("processes of the host", "procfs", r"""
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
report(len(pids) > 4 or FACTS["caller"] in pids, pids[:20])
""", bare=True),
    _python("environments and command lines of others", "procfs", r"""
found = []
for name in os.listdir("/proc"):
    if not name.isdigit() or int(name) == os.getpid():
        continue
    for file in ("environ", "cmdline"):
        try:
            text = open(f"/proc/{name}/{file}", errors="replace").read()
        except OSError:
            continue
        if FACTS["secret"] in text or "warden" in text or "bwrap" in text:
            found.append((name, file))
report(found, found)
""", bare=True),
    _python("the first process's memory and files", "procfs", r"""
places = ["mem", "maps", "environ", "cmdline", "fd", "status", "task/1/mem", "root", "exe",
          "ns/user"]
def look(path):
    return lambda: os.listdir(path) if os.path.isdir(path) else os.open(path, os.O_RDONLY)
none(**{name: look(f"/proc/1/{name}") for name in places},
     write=opens("/proc/1/mem", os.O_RDWR), link=lambda: os.readlink("/proc/1/exe"))
""", bare=True),
    _python("how the machine was started", "procfs", r"""
text = open("/proc/cmdline").read()
report(text.strip(), text)
""", bare=True),
    _python("where the kernel lies", "procfs", r"""
def addresses():
    return any(int(line.split()[0], 16) for line in open("/proc/kallsyms").readlines()[:99])
def lies():
    return any(line.split("-")[0].strip("0 ") for line in open("/proc/iomem").readlines())
none(kallsyms=addresses, iomem=lies, core=opens("/proc/kcore"), kmsg=opens("/proc/kmsg"),
     timers=lambda: bool(open("/proc/timer_list").read(10)))
"""),
    _python("keys of the machine", "procfs", r"""
none(keys=lambda: bool(open("/proc/keys").read().strip()),
     users=lambda: bool(open("/proc/key-users").read().strip()),
     add=passes("add_key", b"user", b"planted", b"x", 1, -4),
     session=passes("keyctl", 0, -3, 0), search=passes("request_key", b"user", b"x", 0, 0))
""", bare=True),
    _python("what hangs on the machine", "procfs", r"""
found = [name for name in ("partitions", "diskstats", "interrupts", "ioports", "swaps", "modules")
         if os.path.exists(f"/proc/{name}") and open(f"/proc/{name}").read().strip()]
found += [name for name in ("acpi", "bus", "driver", "fs", "irq", "scsi", "asound")
          if os.path.exists(f"/proc/{name}") and os.listdir(f"/proc/{name}")]
report(found, found)
""", bare=True),
    _python("switches of the kernel", "procfs", r"""
changed = []
for folder, _, names in os.walk("/proc/sys"):
    for name in names:
        try:
            os.close(os.open(f"{folder}/{name}", os.O_WRONLY))
        except OSError:
            continue
        changed.append(f"{folder}/{name}")
report(changed, changed)
"""),
    _python("core_pattern, sysrq and the like", "procfs", r"""
def write(path, text):
    def action():
        with open(path, "w") as file:
            file.write(text)
    return action
none(core=write("/proc/sys/kernel/core_pattern", "|/box/x"),
     modprobe=write("/proc/sys/kernel/modprobe", "/box/x"),
     sysrq=opens("/proc/sysrq-trigger", 1), irq=opens("/proc/irq/0/smp_affinity", 1),
     binfmt=opens("/proc/sys/fs/binfmt_misc/register", 1),
     last_pid=write("/proc/sys/kernel/ns_last_pid", "1"),
     users=write("/proc/sys/user/max_user_namespaces", "99"))
"""),
    _python("safe from the kernel when memory ends", "procfs", r"""
def adjust(value):
    def action():
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(value)
    return action
none(never=adjust("-1000"), seldom=adjust("-500"), a_bit=adjust("-1"))
"""),
    _python("names of the machine", "procfs", r"""
names = [socket.gethostname(), os.uname().nodename]
names.append(open("/proc/sys/kernel/hostname").read().strip())
report(FACTS["host_name"] in names, names)
""", bare=True),
    _python("names of the groups of processes", "procfs", r"""
rows = [line.split(":", 2)[2].strip() for line in open("/proc/self/cgroup")]
report(set(rows) - {"/"}, rows)
"""),
    _python("paths of the host in the list of mounts", "procfs", r"""
rows = [line.split()[3] for line in open("/proc/self/mountinfo")]
odd = [row for row in rows if FACTS["folder"] in row and FACTS["shared"] not in row]
odd += [row for row in rows if row.startswith(("/home", "/var"))]
report(odd, odd)
"""),
    _python("the map of users", "procfs", r"""
def write(path, text):
    def action():
        with open(path, "w") as file:
            file.write(text)
    return action
none(users=write("/proc/self/uid_map", "0 0 1"), groups=write("/proc/self/gid_map", "0 0 1"),
     set=write("/proc/self/setgroups", "allow"),
     login=write("/proc/self/loginuid", "0"))
"""),
]  # fmt: skip

PROCESSES = [
    _python("ptrace", "ptrace", r"""
if child(lambda: os._exit(syscall("ptrace", 0, 0, 0, 0) != 0)) == 0:
    report(True, "to be traced by the parent")
none(first=passes("ptrace", 16, 1, 0, 0), seize=passes("ptrace", 0x4206, 1, 0, 0),
     caller=passes("ptrace", 16, FACTS["caller"], 0, 0),
     victim=passes("ptrace", 16, FACTS["victim"], 0, 0))
""", bare=True),
    _python("memory of other processes", "ptrace", r"""
class Part(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t))
room = ctypes.create_string_buffer(64)
mine = Part(ctypes.addressof(room), 64)
def copy(name, pid):
    return passes(name, pid, ctypes.byref(mine), 1, ctypes.byref(mine), 1, 0)
pids = (1, os.getpid(), FACTS["victim"], FACTS["caller"])
none(**{f"{name} {pid}": copy(name, pid) for pid in pids
        for name in ("process_vm_readv", "process_vm_writev")})
""", bare=True),
    _python("descriptors of other processes", "ptrace", r"""
def steal(pid):
    ctypes.set_errno(0)
    handle = libc.syscall(ctypes.c_long(434), pid, 0)
    return handle >= 0 and syscall("pidfd_getfd", handle, 1, 0) == 0
none(first=lambda: steal(1), caller=lambda: steal(FACTS["caller"]),
     victim=lambda: steal(FACTS["victim"]), open=passes("pidfd_open", os.getpid(), 0))
""", bare=True),
    _python("a signal to a process of the same user", "signals", r"""
none(there=lambda: os.kill(FACTS["victim"], 0), end=lambda: os.kill(FACTS["victim"], 9))
""", bare=True),
    _python("a signal to the caller and to the warden", "signals", r"""
none(**{f"{name} {number}": lambda pid=pid, number=number: os.kill(pid, number)
        for name, pid in (("caller", FACTS["caller"]), ("warden", FACTS["warden"]))
        for number in (0, 15, 9)})
"""),
    _python("a signal to everyone", "signals", r"""
for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
    try:
        os.kill(-1, number)
    except OSError:
        pass
report(False, "judged by what is left of the host")
"""),
    _python("signals to the first process", "signals", r"""
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
time.sleep(0.1)
report(False, "the box is still there")
"""),
    _python("limits of the first process", "signals", r"""
for kind in range(16):
    room = struct.pack("=QQ", 0, 0)
    libc.prlimit(1, kind, room, None)
time.sleep(0.3)
report(False, "what becomes of the box is the program's own loss")
""", ends=("report", "error")),
    _python("stopping oneself", "signals", "os.kill(os.getpid(), signal.SIGSTOP)",
            ends=("wall",), limits=WAITING),
    _python("stopping one's group", "signals", r"""
os.fork()
os.killpg(0, signal.SIGSTOP)
""", ends=("wall",), limits=WAITING),
    _python("fork bomb, counted", "bombs", r"""
made = 0
try:
    while made < 100:
        if not os.fork():
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError:
    pass
report(made > 60, made)
"""),
    _python("fork bomb", "bombs", r"""
while True:
    try:
        os.fork()
    except OSError:
        pass
""", ends=("cpu", "wall", "memory"), limits=SHORT),
    _python("thread bomb", "bombs", r"""
made = 0
try:
    while made < 100:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        made += 1
except RuntimeError:
    pass
report(made > 60, made)
""", address_space=False),
    _python("a program that starts itself for ever", "bombs", r"""
os.execv(sys.executable, [sys.executable, "-S", "-s", "-B", sys.argv[0]])
""", ends=("cpu",), limits=SHORT),
    _python("an orphan in a session of its own", "orphans", r"""
if not os.fork():
    os.setsid()
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for fd in range(3):
            os.close(fd)
        time.sleep(60)
    os._exit(0)
time.sleep(0.1)
report(False, "judged by who is left")
""", seconds=15),
    _python("children in groups of their own", "orphans", r"""
for number in range(8):
    if not os.fork():
        os.setpgid(0, 0)
        if number % 2:
            os.setpgid(0, 0)
        time.sleep(60)
        os._exit(0)
time.sleep(0.1)
report(False, "judged by who is left")
""", seconds=15),
    _python("a daemon that keeps the output open", "orphans", r"""
if not os.fork():
    os.setsid()
    time.sleep(60)
report(False, "the run must not wait for it")
""", seconds=15),
    _python("an adopter of orphans", "orphans", r"""
libc.prctl(36, 1, 0, 0, 0)
if not os.fork():
    if not os.fork():
        time.sleep(60)
    os._exit(0)
time.sleep(0.1)
report(False, "judged by who is left")
""", seconds=15),
    Attack("bash: the classic fork bomb", "bombs", r":(){ :|:& };:; wait; :(){ :|:& };:; sleep 30",
           "bash", ends=("cpu", "wall", "memory", "error"),
           limits=SHORT.with_(wall_seconds=3)),
    Attack("bash: a job that nohup and disown keep", "orphans", r"""
nohup sleep 60 > /dev/null 2>&1 &
disown
(trap '' TERM HUP INT; sleep 60) &
echo '{"escaped": false, "detail": "judged by who is left"}'
""", "bash", seconds=15),
]  # fmt: skip

MEMORY = [
    _python("one great allocation", "memory", r"""
none(take=lambda: mmap.mmap(-1, 1 << 30))
"""),
    _python("slow growth, with the kernel's limit", "memory", r"""
held = []
def grow():
    while True:
        held.append(b"x" * (1 << 20))
none(take=grow)
""", ends=("report", "memory")),
    _python("slow growth, without it", "memory", r"""
held = []
while True:
    held.append(b"x" * (1 << 20))
    time.sleep(0.002)
""", ends=("memory",), address_space=False),
    _python("shared memory without a name", "memory", r"""
held = []
while True:
    held.append(mmap.mmap(-1, 1 << 20))
    held[-1].write(b"x" * (1 << 20))
    time.sleep(0.002)
""", ends=("memory",), address_space=False),
    _python("many processes, each below the limit", "memory", r"""
for _ in range(20):
    if not os.fork():
        held = b"x" * (20 << 20)
        time.sleep(30)
        os._exit(0)
time.sleep(30)
""", ends=("memory",)),
    _python("memory that nobody maps", "memory", r"""
none(memfd=passes("memfd_create", b"x", 0), secret=passes("memfd_secret", 0))
""", bare=True),
    _python("shared memory that outlives", "memory", r"""
none(memory=passes("shmget", 0x1234, 4096, 0o1666), semaphores=passes("semget", 0x1234, 1, 0o1666),
     messages=passes("msgget", 0x1234, 0o1666),
     queue=passes("mq_open", b"planted", 0o102, 0o600, 0))
"""),
    _python("shared memory of the host", "memory", r"""
libc.shmat.restype = ctypes.c_void_p
at = libc.shmat(FACTS["segment"], None, 0o10000)
text = b"" if at == ctypes.c_void_p(-1).value else ctypes.string_at(at, 64)
report(FACTS["secret"].encode() in text, text)
""", bare=True),
    _python("filling the box's disks", "memory", r"""
sizes = {}
for place in ("/tmp", "/box", "/dev/shm"):
    sizes[place] = 0
    try:
        for number in range(16):
            with open(f"{place}/{number}", "wb") as file:
                for _ in range(7):
                    sizes[place] += file.write(b"x" * (1 << 20))
                    file.flush()
    except OSError:
        pass
report(max(sizes.values()) > 8 << 20, sizes)
""", ends=("report", "memory")),
    _python("millions of empty files", "memory", r"""
made = 0
try:
    while made < 40_000:
        os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError:
    pass
time.sleep(2)  # whoever looks from time to time has looked by then
report(made > 30_000, made)
""", ends=("report", "memory"), address_space=False),
    _python("millions of folders and links", "memory", r"""
made = 0
try:
    while made < 60_000:
        os.mkdir(f"/dev/shm/{made}")
        os.symlink("x" * 3000, f"/box/{made}")
        made += 2
except OSError:
    pass
time.sleep(2)
report(made > 50_000, made)
""", ends=("report", "memory"), address_space=False),
    _python("a file of a terabyte with nothing in it", "memory", r"""
def stretch(path):
    def action():
        with open(path, "wb") as file:
            os.ftruncate(file.fileno(), 1 << 40)
    return action
def seek():
    with open("hole", "wb") as file:
        file.seek(1 << 40)
        file.write(b"x")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
none(box=stretch("long"), tmp=stretch("/tmp/long"), hole=seek)
"""),
    _python("pipes full of data", "memory", r"""
def fill():
    total, pipes = 0, []
    try:
        while True:
            pipes.append(os.pipe())
            os.set_blocking(pipes[-1][1], False)
            try:
                while True:
                    total += os.write(pipes[-1][1], b"x" * 65536)
            except BlockingIOError:
                pass
    except OSError:
        return total
back = os.pipe()
for _ in range(20):
    if not os.fork():
        os.write(back[1], struct.pack("=q", fill()))
        time.sleep(30)
        os._exit(0)
total = sum(struct.unpack("=q", os.read(back[0], 8))[0] for _ in range(20))
time.sleep(2)  # whoever looks from time to time has looked by then
report(total > 96 << 20, total)
""", ends=("report", "memory")),
    _python("sockets full of data", "memory", r"""
def fill():
    total, held = 0, []
    try:
        while True:
            held.append(socket.socketpair())
            for end in held[-1]:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
                end.setblocking(False)
                try:
                    while total < 40 << 20:
                        total += end.send(b"x" * 65536)
                except BlockingIOError:
                    pass
    except OSError:
        return total, held
back = os.pipe()
for _ in range(20):
    if not os.fork():
        total, held = fill()  # held, or all of it would be free again
        os.write(back[1], struct.pack("=q", total))
        time.sleep(30)
        os._exit(0)
total = sum(struct.unpack("=q", os.read(back[0], 8))[0] for _ in range(20))
time.sleep(2)  # whoever looks from time to time has looked by then
report(total > 96 << 20, total)
""", ends=("report", "memory")),
    _python("sockets in flight inside sockets", "memory", r"""
one, other = socket.socketpair()
sent = 0
one.setblocking(False)
try:
    while sent < 100_000:
        pair = socket.socketpair()
        pair[0].setblocking(False)
        try:
            while True:
                pair[0].send(b"x" * 65536)
        except BlockingIOError:
            pass
        socket.send_fds(one, [b"x"], [pair[0].fileno(), pair[1].fileno()])
        for end in pair:
            end.close()
        sent += 1
except OSError as error:
    pass
time.sleep(2)
report(sent > 600, sent)
""", ends=("report", "memory")),
    _python("tables of pages", "memory", r"""
size = 1 << 37
held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
for at in range(0, size, 2 << 20):
    held[at]  # reading takes no memory but that of the table
time.sleep(2)
report(True, "tables of 256 MiB")
""", ends=("memory",), address_space=False),
    _python("memory that stays in memory", "memory", r"""
held = mmap.mmap(-1, 16 << 20)
at = ctypes.addressof(ctypes.c_char.from_buffer(held))
none(lock=lambda: libc.mlock(ctypes.c_void_p(at), ctypes.c_size_t(16 << 20)) == 0,
     all=lambda: libc.mlockall(3) == 0, huge=lambda: mmap.mmap(-1, 2 << 20, flags=0x40022))
"""),
    _python("timers and signals that wait", "memory", r"""
made, room = 0, ctypes.create_string_buffer(8)
while made < 20_000 and libc.timer_create(1, None, room) == 0:
    made += 1
report(made > 2_000, made)
"""),
    Attack("C: recursion without end", "memory", "", "c", choice="recurse",
           ends=("error", "memory")),
    Attack("C: fork bomb", "bombs", "", "c", choice="fork", ends=("cpu", "wall", "memory"),
           limits=SHORT),
    Attack("C: memory that is used without asking", "memory", "", "c", choice="take",
           ends=("error", "memory")),
]  # fmt: skip

RIGHTS = [
    _python("new name spaces by unshare", "name spaces", r"""
flags = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
         "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "time": 0x80}
none(**{name: lambda flag=flag: child(lambda: os._exit(syscall("unshare", flag) != 0)) == 0
        for name, flag in flags.items()},
     both=lambda: child(lambda: os._exit(syscall("unshare", 0x10020000) != 0)) == 0)
""", bare=True),
    _python("new name spaces by clone", "name spaces", r"""
number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
def clone(flag):
    def action():
        pid = libc.syscall(ctypes.c_long(number), ctypes.c_long(flag | signal.SIGCHLD), 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        return pid > 0
    return action
flags = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
         "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
none(**{name: clone(flag) for name, flag in flags.items()}, both=clone(0x10020000))
""", bare=True),
    _python("clone3, whose flags no filter sees", "name spaces", r"""
def clone3(flags):
    def action():
        room = struct.pack("=11Q", flags, 0, 0, 0, int(signal.SIGCHLD), 0, 0, 0, 0, 0, 0)
        pid = libc.syscall(ctypes.c_long(435), room, ctypes.c_long(88))
        if pid == 0:
            os._exit(0)
        return pid > 0
    return action
none(user=clone3(0x10000000), time=clone3(0x80), plain=clone3(0))
""", bare=True),
    _python("joining other name spaces", "name spaces", r"""
def join(path):
    return lambda: syscall("setns", os.open(path, os.O_RDONLY), 0) == 0
none(**{f"{pid} {kind}": join(f"/proc/{pid}/ns/{kind}") for pid in ("self", "1", FACTS["caller"])
        for kind in ("mnt", "net", "pid", "user", "uts", "ipc", "cgroup")})
"""),
    Attack("bash: unshare -r and nested boxes", "name spaces", r"""
won=
unshare -r true 2> /dev/null && won=$won,unshare
unshare -Urmpf --mount-proc true 2> /dev/null && won=$won,all
nsenter -t 1 -a true 2> /dev/null && won=$won,nsenter
bwrap --unshare-user --ro-bind / / true 2> /dev/null && won=$won,bwrap
chroot / true 2> /dev/null && won=$won,chroot
printf '{"escaped": %s, "detail": "%s"}\n' "$([ -n "$won" ] && echo true || echo false)" "$won"
""", "bash", bare=True),
    _python("becoming root", "rights", r"""
none(user=lambda: os.setuid(0), both=lambda: os.setreuid(0, 0), saved=lambda: os.setresuid(0, 0, 0),
     group=lambda: os.setgid(0), groups=lambda: os.setgroups([0]),
     already=lambda: 0 in (os.getuid(), os.geteuid(), os.getgid(), *os.getgroups()),
     file=lambda: os.chown("main.py", 0, 0), fs=lambda: libc.setfsuid(0) and libc.setfsuid(-1) == 0)
"""),
    _python("set-uid programs of the system", "rights", r"""
won = []
for command in (["su", "-c", "id -u"], ["su", "root", "-c", "id -u"], ["sudo", "-n", "id", "-u"],
                ["pkexec", "id", "-u"], ["newgrp", "root"], ["mount", "-o", "remount,rw", "/usr"],
                ["umount", "/proc"], ["doas", "id", "-u"]):
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=9)
    except OSError:
        continue
    if ran.stdout.strip() == b"0" or (ran.returncode == 0 and "mount" in command[0]):
        won.append(command)
state = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
report(won or state["NoNewPrivs"].strip() != "1", won)
"""),
    _python("a set-uid program of one's own", "rights", r"""
import shutil
shutil.copy("/bin/sh", "shell")
os.chmod("shell", 0o6755)
ran = subprocess.run(["./shell", "-p", "-c", "id -u"], capture_output=True)
report(ran.stdout.strip() in (b"0", b""), ran.stdout)
"""),
    _python("capabilities", "rights", r"""
header = struct.pack("=Ii", 0x20080522, 0)
everything = struct.pack("=6I", *[0xFFFFFFFF] * 6)
state = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
has = [name for name, value in state.items() if name.startswith("Cap") and int(value, 16)]
none(set=lambda: libc.capset(header, everything) == 0, has=lambda: bool(has),
     ambient=lambda: libc.prctl(47, 2, 21, 0, 0) == 0,
     bits=lambda: libc.prctl(28, 0x2F, 0, 0, 0) == 0)
"""),
    _python("capabilities of files", "rights", r"""
import shutil
shutil.copy("/bin/sh", "shell")
version2 = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
version3 = struct.pack("<6I", 0x03000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0, 0)
none(two=lambda: os.setxattr("shell", "security.capability", version2),
     three=lambda: os.setxattr("shell", "security.capability", version3))
"""),
    _python("promises taken back", "rights", r"""
def number(name):
    rows = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return rows[name].strip()
libc.prctl(38, 0, 0, 0, 0)
libc.prctl(22, 0, 0, 0, 0)
report(number("NoNewPrivs") != "1" or number("Seccomp") != "2", number("Seccomp"))
"""),
    _python("higher limits", "rights", r"""
raised = []
for kind in range(16):
    soft, hard = resource.getrlimit(kind)
    if hard in (resource.RLIM_INFINITY,):
        continue
    try:
        resource.setrlimit(kind, (hard, hard * 2 + 1))
        raised.append(kind)
    except (OSError, ValueError):
        pass
kinds = ("CPU", "FSIZE", "AS", "NOFILE", "NPROC", "CORE", "MEMLOCK", "MSGQUEUE", "SIGPENDING",
         "RTPRIO")
free = [name for name in kinds
        if resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1] == resource.RLIM_INFINITY]
report(raised or free, (raised, free))
"""),
    _python("a higher place in the queue", "rights", r"""
none(nice=lambda: os.nice(-1), priority=lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
     fifo=lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
     robin=lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)),
     disk=lambda: libc.syscall(ctypes.c_long(
         {"x86_64": 251, "aarch64": 30}[os.uname().machine]), 1, 0, 1 << 13) == 0)
"""),
    _python("crashes that the host collects", "rights", r"""
report(resource.getrlimit(resource.RLIMIT_CORE) != (1, 1), resource.getrlimit(resource.RLIMIT_CORE))
"""),
]  # fmt: skip

CALLS = [
    _python("every call that the filter names", "filter", r"""
# What each call is asked for is nothing that could do harm; the answer must be the filter's.
allowed = {}
for name, number in FACTS["calls"].items():
    made = []
    pid = os.fork()
    if not pid:
        os._exit(syscall(number, -1, 0, 0, 0, 0, 0) & 0xFF)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != errno.EPERM:
        allowed[name] = status
report(allowed, allowed)
""", bare=True),
    _python("calls by the numbers of x32", "filter", r"""
if os.uname().machine != "x86_64":
    report(False, "not on this processor")
ends = {number: child(lambda: syscall(0x40000000 + number)) for number in (39, 101, 165, 272)}
report(any(os.WIFEXITED(status) for status in ends.values()), ends)
""", bare=True),
    _python("calls of another architecture: int 0x80", "filter", r"""
if os.uname().machine != "x86_64":
    report(False, "not on this processor")
code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=7)
page.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
status = child(lambda: os._exit(7 if function() == os.getpid() else 8))
report(os.WIFEXITED(status), status)
"""),
    _python("calls that are newer than the filter", "filter", r"""
found = {number: syscall(number, -1, 0, 0, 0, 0, 0) for number in range(457, 620)}
odd = {number: error for number, error in found.items() if error != errno.ENOSYS}
report(odd, odd)
"""),
    _python("characters for the host's terminal", "filter", r"""
import fcntl, termios
def push(request, value):
    results = []
    for fd in range(3):
        ctypes.set_errno(0)
        done = libc.ioctl(fd, ctypes.c_ulong(request), value)
        results.append(done != -1 or ctypes.get_errno() != errno.EPERM)
    return any(results)
none(push=lambda: push(0x5412, b"x"), select=lambda: push(0x541C, b"\x02"),
     driver=lambda: push(0x5423, struct.pack("=i", 0)), terminal=opens("/dev/tty", os.O_RDWR),
     high=lambda: push((1 << 32) | 0x5412, b"x"), own=lambda: os.openpty())
"""),
    _python("addresses that can be foretold", "filter", r"""
none(personality=lambda: libc.personality(0x0040000) >= 0, query=passes("personality", -1))
""", bare=True),
]  # fmt: skip

AROUND = [
    _python("the caller's environment", "environment", r"""
known = {"PATH", "HOME", "TMPDIR", "LANG", "PWD", "PYTHONIOENCODING", "PYTHONHASHSEED", "LC_CTYPE",
         "SHLVL", "_", FACTS["mark_name"]}
text = open("/proc/self/environ", errors="replace").read()
report(set(os.environ) - known or FACTS["secret"] in text, sorted(os.environ))
"""),
    _python("the clock", "environment", r"""
now = struct.pack("=qq", int(time.time()), 0)
none(set=lambda: libc.clock_settime(0, now) == 0, day=lambda: libc.settimeofday(now, None) == 0,
     adjust=lambda: libc.adjtimex(bytes(208)) >= 0, device=opens("/dev/rtc0"))
"""),
    _python("the machine's name, set", "environment", r"""
none(host=lambda: socket.sethostname("planted"), domain=lambda: libc.setdomainname(b"x", 1) == 0)
"""),
    _python("a report in the warden's name", "forgery", r"""
for fd in range(3, 64):
    for text in (b"0", b'{"child-pid": 1, "exit-code": 0}\n', struct.pack("=idq", 0, 0.0, 0)):
        try:
            os.write(fd, text)
        except OSError:
            pass
for path in ("/proc/1/fd", "/proc/2/fd", f"/proc/{os.getppid()}/fd"):
    try:
        names = os.listdir(path)
    except OSError:
        continue
    for name in names:
        try:
            os.write(os.open(f"{path}/{name}", os.O_WRONLY | os.O_NONBLOCK), b"0")
        except OSError:
            pass
sys.stderr.write("sandbox: [Errno 1] not started\n")
os._exit(7)
""", ends=("exit 7",)),
    _python("a hostile name", "forgery", r"""
# What reads /proc must not take a process's name for its numbers.
for name in (b") S 1 1 1 0 0", b"a\nb", b"RssAnon: 9 kB", b"((( )))", b"\xff\xfe"):
    if not os.fork():
        libc.prctl(15, name, 0, 0, 0)
        while True:
            pass
libc.prctl(15, b") Z 0 0 0", 0, 0, 0)
time.sleep(60)
""", ends=("cpu",), limits=SHORT),
    _python("busy loop", "time", "while True: pass", ends=("cpu",), limits=SHORT),
    _python("busy children", "time", r"""
for _ in range(3):
    os.fork()
while True: pass
""", ends=("cpu",), limits=SHORT),
    _python("busy threads", "time", r"""
import hashlib
def work():
    while True:
        hashlib.sha256(bytes(1 << 22)).digest()
for _ in range(4):
    threading.Thread(target=work).start()
""", ends=("cpu",), limits=SHORT, address_space=False),
    _python("deaf to every signal", "time", r"""
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True: pass
""", ends=("cpu",), limits=SHORT),
    _python("many short children", "time", r"""
while True:
    if not os.fork():
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        os._exit(0)
    os.wait()
""", ends=("cpu",), limits=SHORT),
    _python("many short children whom nobody waits for", "time", r"""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if not os.fork():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        os._exit(0)
    time.sleep(0.02)
""", ends=("cpu",), limits=SHORT),
    _python("short grandchildren", "time", r"""
while True:
    if not os.fork():
        if not os.fork():
            end = time.process_time() + 0.01
            while time.process_time() < end:
                pass
        os._exit(0)
    os.wait()
""", ends=("cpu",), limits=SHORT),
    _python("sleep", "time", "time.sleep(1000)", ends=("wall",), limits=WAITING),
    _python("waiting for input that never comes", "time", "os.read(os.pipe()[0], 1)",
            ends=("wall",), limits=WAITING),
    _python("output without end", "output", r"""
while True:
    os.write(1, b"x" * 65536)
""", ends=("output",)),
    _python("errors without end", "output", r"""
while True:
    os.write(2, b"x" * 65536)
""", ends=("output",)),
    _python("both without end", "output", r"""
while True:
    os.write(1, b"x" * 1000)
    os.write(2, b"x" * 1000)
""", ends=("output",)),
    _python("output after closing it", "output", r"""
copy = os.dup(1)
os.close(1)
while True:
    os.write(copy, b"x" * 65536)
""", ends=("output",)),
    _python("one line of four megabytes", "output", "sys.stdout.write('x' * (4 << 20))",
            ends=("output",)),
    _python("output by many processes", "output", r"""
for _ in range(4):
    os.fork()
while True:
    os.write(1, b"x" * 100)
""", ends=("output",)),
    _python("output that does not wait", "output", r"""
import fcntl
os.set_blocking(1, False)
try:
    fcntl.fcntl(1, 1031, 1 << 20)
except OSError:
    pass
while True:
    try:
        os.write(1, b"x" * 65536)
    except BlockingIOError:
        pass
""", ends=("output",)),
]  # fmt: skip

JAVA = r"""
import java.io.*;
import java.net.*;
import java.util.*;

public class Main {
    static void report(boolean escaped, Object detail) {
        System.out.println("{\"escaped\": " + escaped + ", \"detail\": \"" +
            String.valueOf(detail).replaceAll("[^A-Za-z0-9 .:]", "") + "\"}");
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    public static void main(String[] args) throws Exception {
        Scanner in = new Scanner(System.in);
        String choice = in.next();
        Properties facts = new Properties();
        while (in.hasNext()) facts.put(in.next(), in.next());
        if (choice.equals("exec")) {
            String[] command = {"cat", facts.getProperty("canary")};
            Process p = Runtime.getRuntime().exec(command);
            String said = new BufferedReader(new InputStreamReader(p.getInputStream())).readLine();
            report(said != null, said);
        } else if (choice.equals("net")) {
            try {
                int port = Integer.parseInt(facts.getProperty("tcp4"));
                new Socket("127.0.0.1", port).close();
                report(true, "connected");
            } catch (IOException e) {
                report(false, e);
            }
        } else if (choice.equals("kill")) {
            Optional<ProcessHandle> other =
                ProcessHandle.of(Long.parseLong(facts.getProperty("victim")));
            other.ifPresent(ProcessHandle::destroyForcibly);
            report(other.isPresent(), other);
        } else if (choice.equals("hook")) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> { while (true); }));
            System.exit(0);
        } else if (choice.equals("swallow")) {
            Thread.setDefaultUncaughtExceptionHandler((t, e) -> { while (true); });
            List<byte[]> held = new ArrayList<>();
            while (true) {
                try {
                    held.add(new byte[1 << 20]);
                } catch (Throwable t) {
                    held.size();
                }
            }
        } else if (choice.equals("threads")) {
            int made = 0;
            try {
                while (made < 400) {
                    Thread t = new Thread(() -> {
                        try { Thread.sleep(60000); } catch (InterruptedException e) { }
                    });
                    t.setDaemon(true);
                    t.start();
                    made++;
                }
            } catch (Throwable t) { }
            report(made > 100, made);
        }
    }
}
"""

GO = r"""
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

func report(escaped bool, detail interface{}) {
	fmt.Printf("{\"escaped\": %v, \"detail\": %q}\n", escaped, fmt.Sprint(detail))
	os.Exit(0)
}

func main() {
	var choice, canary string
	var port, victim int
	fmt.Scan(&choice, &canary, &port, &victim)
	switch choice {
	case "dial":
		_, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 3*time.Second)
		report(err == nil, err)
	case "kill":
		err := syscall.Kill(victim, 9)
		report(err == nil, err)
	case "exec":
		said, err := exec.Command("cat", canary).Output()
		report(len(said) > 0, err)
	case "goroutines":
		for {
			go func() { held := make([]byte, 1<<16); held[0] = 1; select {} }()
		}
	case "threads":
		go func() { time.Sleep(20 * time.Second); os.Exit(3) }()
		for made := 0; made < 400; made++ {
			go func() { runtime.LockOSThread(); time.Sleep(time.Minute) }()
		}
		time.Sleep(300 * time.Millisecond)
		names, _ := os.ReadDir("/proc/self/task")
		report(len(names) > 100, len(names))
	case "clone":
		command := exec.Command("true")
		command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		err := command.Run()
		report(err == nil, err)
	}
}
"""

C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int deep(int n) {
    volatile char room[4096];
    room[0] = (char)n;
    return deep(n + 1) + room[0];
}

int main(void) {
    char choice[32] = "";
    if (scanf("%31s", choice) != 1) return 2;
    if (!strcmp(choice, "recurse")) return deep(0);
    if (!strcmp(choice, "fork")) for (;;) fork();
    if (!strcmp(choice, "take")) for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    return 3;
}
"""

RUNTIMES = [
    Attack("Java: another program", "runtimes", JAVA, "java", limits=LARGE, choice="exec"),
    Attack("Java: a connection", "runtimes", JAVA, "java", limits=LARGE, choice="net"),
    Attack("Java: another process", "runtimes", JAVA, "java", limits=LARGE, choice="kill"),
    Attack("Java: a hook that never ends", "runtimes", JAVA, "java", choice="hook",
           limits=LARGE.with_(cpu_seconds=0.3), ends=("cpu",)),
    Attack("Java: errors that are swallowed", "runtimes", JAVA, "java", choice="swallow",
           limits=LARGE.with_(cpu_seconds=0.6), ends=("cpu", "memory")),
    Attack("Java: threads", "runtimes", JAVA, "java", limits=LARGE, choice="threads"),
    Attack("Go: a connection", "runtimes", GO, "go", limits=LARGE, choice="dial"),
    Attack("Go: another process", "runtimes", GO, "go", limits=LARGE, choice="kill"),
    Attack("Go: another program", "runtimes", GO, "go", limits=LARGE, choice="exec"),
    Attack("Go: a name space", "runtimes", GO, "go", limits=LARGE, choice="clone"),
    Attack("Go: goroutines without end", "runtimes", GO, "go", choice="goroutines",
           limits=LARGE.with_(cpu_seconds=1), ends=("cpu", "memory", "error")),
    # Go itself ends a program whose thread is refused, and says much about it.
    Attack("Go: threads", "runtimes", GO, "go", limits=LARGE, choice="threads",
           ends=("report", "error", "output")),
    Attack("Node: connections and processes", "runtimes", r"""
const net = require("net"), fs = require("fs"), {execFileSync} = require("child_process");
const won = [];
const tries = (name, action) => { try { action(); won.push(name); } catch (e) { } };
tries("read", () => fs.readFileSync("@canary@"));
tries("kill", () => process.kill(@victim@, 0));
tries("exec", () => execFileSync("cat", ["@canary@"], {stdio: "pipe"}));
tries("write", () => fs.writeFileSync("@shared@/planted", ""));
const end = (how) => {
    if (how) won.push(how);
    console.log(JSON.stringify({escaped: won.length > 0, detail: won.join(" ")}));
    process.exit(0);
};
net.connect(@tcp4@, "127.0.0.1").on("connect", () => end("connect")).on("error", () => end(""));
""", "javascript", limits=LARGE, bare=True),
    Attack("Node: workers that never end", "runtimes", r"""
const {Worker} = require("worker_threads");
for (let i = 0; i < 4; i++) new Worker("for (;;);", {eval: true});
setInterval(() => 0, 1000);
""", "javascript", limits=LARGE.with_(cpu_seconds=0.4), ends=("cpu",)),
    Attack("Node: an exit that never ends", "runtimes", r"""
process.on("exit", () => { for (;;); });
process.on("SIGTERM", () => 0);
process.exit(0);
""", "javascript", limits=LARGE.with_(cpu_seconds=0.3), ends=("cpu",)),
    Attack("Node: memory outside its heap", "runtimes", r"""
const held = [];
for (;;) held.push(Buffer.alloc(1 << 22, 1));
""", "javascript", limits=LARGE, ends=("memory",)),
    Attack("Ruby: connections and processes", "runtimes", r"""
require "socket"
won = []
tries = lambda do |name, &action|
  action.call
  won << name
rescue SystemCallError, IOError
end
tries.call("connect") { TCPSocket.new("127.0.0.1", @tcp4@) }
tries.call("read") { File.read("@canary@") }
tries.call("kill") { Process.kill(0, @victim@) }
tries.call("root") { Process::Sys.setuid(0) }
tries.call("call") { raise IOError if syscall(39) == @caller@; syscall(@unshare@, 0x10000000) }
puts "{\"escaped\": #{!won.empty?}, \"detail\": \"#{won.join(" ")}\"}"
""", "ruby", limits=LARGE, bare=True),
    Attack("Ruby: an exit that never ends", "runtimes", r"""
at_exit { loop { } }
Signal.trap("TERM") { }
exit 0
""", "ruby", limits=LARGE.with_(cpu_seconds=0.3), ends=("cpu",)),
    Attack("Bash: deaf, and writing for ever", "runtimes", r"""
trap '' TERM INT HUP QUIT XCPU PIPE
yes > /dev/null &
while :; do :; done
""", "bash", limits=SHORT, ends=("cpu",)),
]  # fmt: skip

ATTACKS: tuple[Attack, ...] = (
    *NETWORK, *FILES, *PROCFS, *PROCESSES, *MEMORY, *RIGHTS, *CALLS, *AROUND, *RUNTIMES,
)  # fmt: skip
BY_NAME: Mapping[str, Attack] = {attack.name: attack for attack in ATTACKS}
MARK_NAME = "ATTACK_MARK"  # a variable by which what is left of a box can be found


@dataclass(frozen=True)
class Build:
    """A program that attacks while it is compiled.

    ``@canary@`` in the code is a file of the host, with a secret in it. A ``bomb`` compiles until
    a limit ends it.
    """

    name: str
    language: str
    code: str
    bomb: bool = False


_RUST_MACRO = "macro_rules! m { ($($t:tt)*) => { m!($($t)* $($t)*) } }"
BUILDS: tuple[Build, ...] = (
    Build("C: include of /etc/passwd", "c", '#include "/etc/passwd"\nint main(void) {}'),
    Build("C: include of /etc/shadow", "c", '#include "/etc/shadow"\nint main(void) {}'),
    Build("C: include of a file of the host", "c", '#include "@canary@"\nint main(void) {}'),
    Build("C: include that never ends", "c", '#include "/dev/zero"\nint main(void) {}', bomb=True),
    Build("C: include of the compiler's input", "c", '#include "/dev/stdin"\nint main(void) {}'),
    Build("C: include of itself", "c", "#include __FILE__\n#include __FILE__\nint main(void) {}",
          bomb=True),
    Build("C: a file of the host in the program", "c", r"""
#include <stdio.h>
__asm__(".section .rodata\nhere: .incbin \"@canary@\"\n.byte 0\n.text");
extern const char here[];
int main(void) { puts(here); }
"""),
    Build("C: a macro bomb", "c", "#define A x x x x x x x x x x\n" + "".join(
        f"#define {chr(66 + i)} {' '.join([chr(65 + i)] * 10)}\n" for i in range(9)
    ) + "int main(void) { J }", bomb=True),
    Build("C: an array of many gigabytes", "c",
          "char a[1L << 36] = {1};\nint main(void) { return a[5]; }", bomb=True),
    Build("C++: a template bomb", "cpp", r"""
template <int N> struct A { static const int v = A<N - 1>::v + A<N - 2>::v * 0; A<N - 1> a, b; };
template <int N, class... T> struct B { B<N - 1, T..., T..., int> b; };
B<60, int, char> b;
int main() { return sizeof b; }
""", bomb=True),
    Build("C++: a loop in the compiler", "cpp", r"""
constexpr long f(long n) { long s = 0; for (long i = 0; i < n; i++) s ^= i * i; return s; }
template <long N> struct A { static constexpr long v = f(200000 + N) + A<N - 1>::v; };
template <> struct A<0> { static constexpr long v = 0; };
int main() { return A<800>::v & 1; }
""", bomb=True),
    Build("Java: a plug-in for the compiler", "java", r"""
import java.util.*;
import javax.annotation.processing.*;
import javax.lang.model.element.*;
@SupportedAnnotationTypes("*")
public class Main extends AbstractProcessor {
    static boolean ran = new java.io.File("/box/out/ran").exists();
    static { try { new java.io.FileWriter("/box/out/ran").close(); } catch (Exception e) { } }
    public boolean process(Set<? extends TypeElement> a, RoundEnvironment r) { return false; }
    public static void main(String[] args) throws Exception {
        String found = "";
        try {
            found = new Scanner(new java.io.File("@canary@")).nextLine();
        } catch (Exception e) { }
        System.out.println(found + ran);
    }
}
"""),
    Build("Java: constants that double", "java", "public class Main { " + "".join(
        f'static final String S{i + 1} = S{i} + S{i} + S{i} + S{i};' for i in range(14)
    ) + 'static final String S0 = "xxxxxxxx"; public static void main(String[] a) {} }', bomb=True),
    Build("Rust: a file of the host as text", "rust",
          'fn main() { println!("{}", include_str!("@canary@")); }'),
    Build("Rust: /etc/passwd as bytes", "rust",
          'fn main() { println!("{:?}", include_bytes!("/etc/shadow")); }'),
    Build("Rust: a macro bomb", "rust", f"#![recursion_limit = \"999999\"]\n{_RUST_MACRO}\n"
          "fn main() { m!(x y z); }", bomb=True),
    Build("Go: a file of the host", "go",
          'package main\nimport _ "embed"\n//go:embed @canary@\nvar s string\n'
          "func main() { println(s) }"),
    Build("Go: options for the C compiler", "go",
          'package main\n// #cgo CFLAGS: -fplugin=/box/x.so\n// #cgo LDFLAGS: -Wl,@@canary@\n'
          '// #include "@canary@"\nimport "C"\nfunc main() {}'),
    Build("TypeScript: types without end", "typescript",
          "type A<T extends any[], N extends number> = T['length'] extends N ? T : "
          "A<[...T, ...T, 1], N>;\ntype B<S> = S extends `${infer H}${infer R}` ? [H, ...B<R>, "
          "...B<R>] : [];\nlet a: A<[1], 999999>; let b: B<'" + "x" * 30 + "'>;\nconsole.log(1);",
          bomb=True),
    Build("TypeScript: a file of the host", "typescript",
          '/// <reference path="@canary@" />\nimport * as x from "@canary@";\nconsole.log(x);'),
)  # fmt: skip


# ---------------------------------------------------------------------------- the host's side


def calls() -> dict[str, int]:
    """The numbers of the calls that the filter denies on this machine."""
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    found = {name: numbers[column] for name, numbers in seccomp.DENIED.items()}
    return {name: number for name, number in found.items() if number is not None}


class Host:
    """What the attacks are after: listeners, a secret file, a shared folder, a process, memory.

    Parameters
    ----------
    user : the user that the boxes run as, for the process that is to be attacked
    """

    def __init__(self, user: int) -> None:
        self._user = user
        self._stack = contextlib.ExitStack()
        self.mark = f"mark-{os.urandom(8).hex()}"
        self.secret = f"secret-{os.urandom(8).hex()}"

    def __enter__(self) -> Host:
        with contextlib.ExitStack() as stack:
            self._prepare(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def _prepare(self, stack: contextlib.ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="host-")))
        folder.chmod(0o755)
        self.folder, self.canary, self.shared = folder, folder / "canary.txt", folder / "shared"
        self.canary.write_text(self.secret + "\n", encoding="ascii")
        self.canary.chmod(0o644)
        # As if it had not been read for long, so that reading it leaves a trace.
        os.utime(self.canary, (1_000_000_000, 1_500_000_000))
        self.shared.mkdir()
        self.shared.chmod(0o777)
        there = self.shared / "there.txt"
        there.write_text("there\n", encoding="ascii")
        there.chmod(0o666)
        self.tcp4 = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        self.tcp6 = stack.enter_context(_server6())
        self.udp4 = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp4.bind(("127.0.0.1", 0))
        self.udp6 = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        with contextlib.suppress(OSError):
            self.udp6.bind(("::1", self.udp4.getsockname()[1]))
        self.named = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.named.bind(str(folder / "listen"))
        (folder / "listen").chmod(0o777)
        self.abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract.bind("\0" + self.mark)
        for server in (self.named, self.abstract):
            server.listen(200)
        other = self._user if os.getuid() == 0 else None
        self.victim = subprocess.Popen(
            ["/bin/sleep", "600"], start_new_session=True, user=other, group=other
        )
        stack.callback(self._end_victim)
        libc = ctypes.CDLL(None, use_errno=True)
        self.segment = libc.shmget(0, 4096, 0o1666)
        libc.shmat.restype = ctypes.c_void_p
        self._at = libc.shmat(self.segment, None, 0)
        # Given back when the last process that holds it ends, however it ends; Linux lets others
        # come in by its number until then.
        libc.shmctl(self.segment, 0, None)
        stack.callback(libc.shmdt, ctypes.c_void_p(self._at))
        ctypes.memmove(self._at, self.secret.encode(), len(self.secret))
        os.environ["BOOK_SANDBOX_CANARY"] = self.secret
        stack.callback(os.environ.pop, "BOOK_SANDBOX_CANARY", None)
        self._before = self._state()

    def _end_victim(self) -> None:
        self.victim.kill()
        self.victim.wait()

    def facts(self, warden: int, shown: Sequence[str]) -> dict[str, Any]:
        """What an attacker is told, to make it easy."""
        names = sorted(path.name for path in Path("/sys/class/block").glob("*"))
        disks = [name for name in names if Path("/dev", name).exists()]
        parts = {part for place in shown for part in Path(place).parts}
        return {
            "tcp4": self.tcp4.getsockname()[1], "tcp6": self.tcp6.getsockname()[1],
            "udp4": self.udp4.getsockname()[1], "unix": str(self.folder / "listen"),
            "abstract": self.mark, "canary": str(self.canary), "folder": str(self.folder),
            "shared": str(self.shared), "secret": self.secret, "mark": self.mark,
            "mark_name": MARK_NAME, "home": str(Path.home()), "caller": os.getpid(),
            "warden": warden, "victim": self.victim.pid, "segment": self.segment, "calls": calls(),
            "host_name": socket.gethostname(), "shown": sorted(parts), "devices": disks,
            "disk": f"/dev/{(disks or ['sda'])[0]}",
            "disk_number": _device(f"/dev/{(disks or ['sda'])[0]}"),
            "unshare": calls()["unshare"],
        }  # fmt: skip

    def _state(self) -> dict[str, Any]:
        tree = {}
        for path in (self.canary, self.shared, *sorted(self.shared.rglob("*"))):
            found = path.lstat()
            tree[str(path.relative_to(self.folder))] = (
                found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
                found.st_atime_ns if path == self.canary else 0, found.st_nlink,
            )  # fmt: skip
        return {
            "files": tree,
            "victim": self.victim.poll(),
            "segment": ctypes.string_at(self._at, len(self.secret)),
        }

    def traces(self) -> list[str]:
        """What the attacks changed or reached, as the host sees it; empty if nothing."""
        found = [
            f"{name} was {self._before[name]} and is {now}"
            for name, now in self._state().items()
            if now != self._before[name]
        ]
        for name in ("tcp4", "tcp6", "named", "abstract"):
            server = getattr(self, name)
            server.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                server.accept()[0].close()
                found.append(f"a connection to {name}")
        for name in ("udp4", "udp6"):
            receiver = getattr(self, name)
            receiver.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                receiver.recv(100)
                found.append(f"a packet to {name}")
        if self.secret not in self.canary.read_text(encoding="ascii"):
            found.append("another secret in the file")
        return found


def _server6() -> socket.socket:
    try:
        return socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=200)
    except OSError:  # a machine without IPv6: the attack then fails for another reason
        return socket.create_server(("127.0.0.1", 0))


def _device(path: str) -> list[int]:
    try:
        number = Path(path).stat().st_rdev
    except OSError:
        return [8, 0]
    return [os.major(number), os.minor(number)]


def marked(mark: str) -> list[int]:
    """Processes of this machine that carry a mark, the victims of `Host` aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK_NAME}={mark}".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


# ---------------------------------------------------------------------------- running them


@dataclass(frozen=True)
class Result:
    """How an attack went: why it was not contained, empty if it was; and what it said."""

    trouble: str
    detail: str = ""

    @property
    def contained(self) -> bool:
        """Whether it was held back, and has shown so."""
        return not self.trouble


def judge(attack: Attack, ran: Execution) -> Result:
    """Tell whether a run shows that the attack was held back."""
    if ran.problem:
        return Result(f"the box failed: {ran.problem}")
    if attack.seconds and ran.wall_seconds > attack.seconds:
        return Result(f"it took {ran.wall_seconds:.1f} s")
    said = ran.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        line = json.loads(said[-1]) if said else {}
    except ValueError:
        line = {}
    if isinstance(line, dict) and "escaped" in line and ran.killed_for is None:
        if line["escaped"]:
            return Result(f"it got through: {line['detail']}")
        if "report" in attack.ends:
            return Result("", str(line["detail"]))
    if ran.killed_for in attack.ends:
        return Result("", f"ended by its limit of {ran.killed_for}")
    own = ran.killed_for is None and (ran.signal is not None or ran.exit_code != 0)
    if own and ("error" in attack.ends or f"exit {ran.exit_code}" in attack.ends):
        return Result("", f"exit {ran.exit_code}, signal {ran.signal}")
    last = ran.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
    return Result(
        f"it ended otherwise: exit {ran.exit_code}, signal {ran.signal}, killed for "
        f"{ran.killed_for}, said {said[-1:]} {last}"
    )


def _mounts(tools: Mapping[str, Toolchain | str]) -> list[str]:
    found = [entry for entry in tools.values() if isinstance(entry, Toolchain)]
    return list(dict.fromkeys(place for entry in found for place in entry.mounts))


def make(
    name: str, tools: Mapping[str, Toolchain | str], workers: int, without: Sequence[str] = ()
) -> backends.Backend:
    """Return a back-end that shows the toolchains."""
    return backends.make(name, _mounts(tools), workers, without)


class Range:
    """A back-end with everything the attacks need: run times, compiled programs, a host."""

    def __init__(
        self, backend: backends.Backend, host: Host, tools: Mapping[str, Toolchain | str],
        compiled: Mapping[str, Mapping[str, bytes]],
    ) -> None:  # fmt: skip
        self.backend, self.host = backend, host
        self.tools, self.compiled = tools, compiled
        self.python = _programs(tools, "python")["python3"]
        process = getattr(getattr(backend, "pool", None), "_process", None)
        self.warden: int = process.pid if process is not None else 0
        self.facts = host.facts(self.warden, _mounts(tools))

    def missing(self, attack: Attack) -> str:
        """Why an attack cannot be tried here; empty if it can."""
        language = attack.language
        if isinstance(self.tools.get(language), str):
            return f"{language} is {self.tools[language]}"
        if LANGUAGES[language].compile is not None and language not in self.compiled:
            return f"the attack in {language} was not compiled"
        return ""

    def _job(self, attack: Attack) -> backends.Job:
        language = LANGUAGES[attack.language]
        toolchain = self.tools[attack.language]
        assert isinstance(toolchain, Toolchain)
        code, files, stdin = attack.code, {}, b"what others read\n"
        limits = attack.limits.with_(
            processes=max(attack.limits.processes, language.processes),
            open_files=max(attack.limits.open_files, language.open_files),
        )
        facts = self.facts
        if attack.language == "python":
            code = PRELUDE + code
            argv = [self.python, "-S", "-s", "-B", "/box/main.py"]
        else:
            for name, value in facts.items():
                code = code.replace(f"@{name}@", str(value))
            argv = language.run(toolchain, code, limits)
        if language.compile is None:
            files = {language.source_name(code): code.encode(), "facts.json": _json(facts)}
        else:
            files = dict(self.compiled.get(attack.language, {}))
            stdin = _choices(attack, facts)
        return backends.Job(
            argv, files, stdin,
            {**language.env_for(limits), MARK_NAME: self.host.mark},
            limits, attack.address_space and language.address_space, (str(self.host.shared),),
        )  # fmt: skip

    def attempt(self, attack: Attack) -> Result:
        """Run an attack and judge it."""
        for _ in range(attack.runs):
            ran = self.backend.run(self._job(attack))
        return judge(attack, ran)


def _json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts).encode()


def _choices(attack: Attack, facts: Mapping[str, Any]) -> bytes:
    names = ("canary", "tcp4", "victim")
    if attack.language == "go":
        words = [attack.choice, *(str(facts.get(name)) for name in names)]
    else:
        words = [attack.choice, *(f"{name} {facts.get(name)}" for name in names)]
    return " ".join(words).encode()


def _programs(tools: Mapping[str, Toolchain | str], language: str) -> Mapping[str, str]:
    found = tools[language]
    if isinstance(found, str):
        raise SandboxError(found)
    return found.programs


def compile_all(tools: Mapping[str, Toolchain | str]) -> dict[str, dict[str, bytes]]:
    """Compile the attacks in Java, Go and C, with this machine's own compilers."""
    made: dict[str, dict[str, bytes]] = {}
    for language, code in (("java", JAVA), ("go", GO), ("c", C)):
        toolchain = tools.get(language)
        entry = LANGUAGES[language]
        if not isinstance(toolchain, Toolchain) or entry.compile is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "out").mkdir()
            Path(folder, entry.source_name(code)).write_text(code, encoding="utf-8")
            limits = Limits(memory_bytes=512 * MIB)
            subprocess.run(
                entry.compile(toolchain, code, limits), cwd=folder, check=True, timeout=120,
                env={"PATH": os.environ["PATH"], "HOME": folder, **entry.compile_env},
            )  # fmt: skip
            made[language] = {
                f"out/{path.name}": path.read_bytes() for path in Path(folder, "out").iterdir()
            }
    return made


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def sweep(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run every attack in one back-end, several at a time; return what came of it as plain data."""
    began = time.monotonic()
    tools: dict[str, Toolchain | str] = {
        name: Toolchain(entry["programs"], entry["version"], tuple(entry["mounts"]))
        if isinstance(entry, dict)
        else entry
        for name, entry in settings["tools"].items()
    }
    compiled = {
        language: {name: Path(path).read_bytes() for name, path in files.items()}
        for language, files in settings["compiled"].items()
    }
    user = 65534 if os.getuid() == 0 else os.getuid()
    with Host(user) as host:
        backend = make(settings["backend"], tools, settings["workers"])
        try:
            backend.run(backends.Job(["/bin/true"]))  # so that there is a warden to attack
            place = Range(backend, host, tools, compiled)
            descriptors = _descriptors()
            chosen = [attack for attack in ATTACKS if not place.missing(attack)]

            def attempt(attack: Attack) -> dict[str, str]:
                try:
                    result = place.attempt(attack)
                except Exception as error:
                    result = Result(repr(error))
                return {"trouble": result.trouble, "detail": result.detail}

            with ThreadPoolExecutor(settings["workers"]) as threads:
                results = list(threads.map(attempt, chosen))
            left = marked(host.mark)
            grown = _descriptors() - descriptors
        finally:
            backend.close()
        return {
            "results": dict(zip((a.name for a in chosen), results, strict=True)),
            "missing": {a.name: place.missing(a) for a in ATTACKS if place.missing(a)},
            "traces": host.traces(),
            "left": left,
            "left_later": marked(host.mark),
            "descriptors": grown,
            "warden": place.warden,
            "mark": host.mark,
            "user": os.getuid(),
            "seconds": time.monotonic() - began,
        }


@contextlib.contextmanager
def prepared(
    folder: Path, backend: str, tools: Mapping[str, Toolchain | str],
    compiled: Mapping[str, Mapping[str, bytes]], workers: int = 4,
) -> Iterator[Path]:  # fmt: skip
    """Write the settings of one sweep, and all it needs, where every user can read it."""
    data: dict[str, Any] = {"backend": backend, "workers": workers, "library": str(folder)}
    data["tools"] = {
        name: entry
        if isinstance(entry, str)
        else {
            "programs": dict(entry.programs),
            "version": entry.version,
            "mounts": list(entry.mounts),
        }
        for name, entry in tools.items()
    }
    data["compiled"] = {}
    for language, files in compiled.items():
        data["compiled"][language] = {}
        for name, content in files.items():
            path = folder / f"{language}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
            path.write_bytes(content)
            data["compiled"][language][name] = str(path)
    path = folder / f"settings-{backend}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    for entry in folder.rglob("*"):
        entry.chmod(0o755 if entry.is_dir() else 0o644)
    yield path


def library(folder: Path) -> Path:
    """Copy what the driver needs to a folder, and return the driver's own copy."""
    root = Path(__file__).resolve().parents[1]
    ignored = shutil.ignore_patterns("__pycache__", "*.ipynb")
    shutil.copytree(root / "helpers", folder / "helpers", ignore=ignored)
    return Path(shutil.copy(__file__, folder / "sandbox_attacks.py"))


def found_tools() -> dict[str, Toolchain | str]:
    """The toolchains of the languages that attack."""
    return toolchains(sorted({attack.language for attack in ATTACKS}))


def main() -> None:
    """Run the sweep that the settings describe, and print what came of it as JSON."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout.write(json.dumps(sweep(_SETTINGS)))


if __name__ == "__main__":
    main()
