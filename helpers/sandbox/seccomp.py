"""A seccomp filter: the system calls that a program in the box may not make.

The filter is a list of classic BPF instructions, which the kernel runs before every system call.
It is written here without a library, so that the sandbox needs nothing to be installed.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst; include/uapi/linux/audit.h.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable

# What each denied call could do. The numbers are those of x86-64 and of the generic table (arm64).
DENIED: dict[str, tuple[int | None, int | None]] = {
    # look into, or steer, other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434),
    # mounts and name spaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # the kernel itself
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_setup": (206, 0),  # draws on one supply for the whole machine
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "syslog": (103, 116),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    # clocks and names of the machine
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # keys that outlive a process
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # memory that no limit counts, and objects that outlive a process
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # see who uses the files that all boxes share; these draw on the user's own supply, too
    "fanotify_init": (300, 262),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    # where memory lies; and a way around address randomisation
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "personality": (135, 92),
}  # fmt: skip
# Denied for some values of one argument only; see `build`.
_CLONE, _CLONE3 = (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR, _SETSOCKOPT = (41, 198), (53, 199), (54, 208)
_IOCTL, _FCNTL = (16, 29), (72, 25)
_MKNOD, _MKNODAT = (133, None), (259, 33)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
NEWEST = 456  # the last call that this table knows; there were 471 of them in 2025

# New name spaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, and NEWTIME.
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000
NEW_NAMESPACES |= 0x10000000 | 0x20000000 | 0x40000000 | 0x00000080
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_F_SETLEASE, _F_NOTIFY = 1024, 1026
_S_IFCHR = 0o020000  # the bit that character and block devices share, and nothing else has
_SO_SNDBUF, _SO_SNDBUFFORCE = 7, 32
RULES = ("architecture", "newer", "clone", "socket", "setsockopt", "ioctl", "fcntl", "mknod")

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Whether the filter is written for this machine's processor."""
    return platform.machine() in _ARCHITECTURES


def build(without: Iterable[str] = ()) -> bytes:
    """Return the filter as the kernel takes it: eight bytes for each instruction.

    Denied calls fail with EPERM, so that a program sees an error it can report. Calls
    that are newer than the table, and clone3, whose flags lie in memory where a filter
    cannot look, fail with ENOSYS: libraries then use older ones. Sockets are allowed
    within the box only (AF_UNIX). A call of another architecture's table kills the
    process, since it could pass under the numbers.

    Parameters
    ----------
    without : names in `DENIED` or `RULES` to leave open. Only tests use it: they take
        one wall away and see the attack succeed.

    Raises
    ------
    OSError : on a processor that the table does not cover
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(f"no seccomp table for {machine}")
    column, audit = _ARCHITECTURES[machine]
    left_out = set(without)
    code: list[Instruction] = []
    if "architecture" not in left_out:
        code += [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL)]
    code.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64" and "architecture" not in left_out:
        # The x32 table has the same architecture, and other numbers.
        code += [(_GREATER_EQUAL, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]
    if "newer" not in left_out:
        code += [(_GREATER_EQUAL, 0, 1, NEWEST + 1), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    for name, numbers in DENIED.items():
        number = numbers[column]
        if name not in left_out and number is not None:
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    if "clone" not in left_out:
        code += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
        code += _where(_CLONE[column], 0, [(_ANY_BIT, NEW_NAMESPACES)], _EPERM)
    if "socket" not in left_out:
        for call in (_SOCKET, _SOCKETPAIR):
            local = [(_EQUAL, _AF_UNIX)]
            code += _where(call[column], 0, local, _EAFNOSUPPORT, allowed=True)
    if "setsockopt" not in left_out:
        # What waits in a socket is the kernel's memory, and no limit counts it. A
        # larger room for it is promised and not given: the kernel, too, does less than
        # asked beyond its maximum.
        room = [(_EQUAL, _SO_SNDBUF), (_EQUAL, _SO_SNDBUFFORCE)]
        code += _where(_SETSOCKOPT[column], 2, room, 0)
    if "ioctl" not in left_out:  # writes into a terminal's input, or loads its drivers
        pushes = [(_EQUAL, command) for command in (_TIOCSTI, _TIOCLINUX, _TIOCSETD)]
        code += _where(_IOCTL[column], 1, pushes, _EPERM)
    if "fcntl" not in left_out:  # hold up, or watch, those who use a shared file
        watching = [(_EQUAL, _F_SETLEASE), (_EQUAL, _F_NOTIFY)]
        code += _where(_FCNTL[column], 1, watching, _EPERM)
    if "mknod" not in left_out:  # pipes with a name are fine
        code += _where(_MKNOD[column], 1, [(_ANY_BIT, _S_IFCHR)], _EPERM)
        code += _where(_MKNODAT[column], 2, [(_ANY_BIT, _S_IFCHR)], _EPERM)
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _where(
    number: int | None, place: int, tests: list[tuple[int, int]], error: int, allowed: bool = False
) -> list[Instruction]:
    """Deny one call if its argument at a place passes a test (or, if ``allowed``, passes none).

    The lower half of the argument is what the kernel itself looks at for all these calls.
    """
    if number is None:
        return []
    deny, allow = (_RETURN, 0, 0, _ERRNO | error), (_RETURN, 0, 0, _ALLOW)
    ends = [deny, allow] if allowed else [allow, deny]
    body = [(_LOAD, 0, 0, _ARGUMENTS + 8 * place)]
    # A test that holds jumps over those that follow it, and over the first of the two ends.
    body += [(kind, len(tests) - i, 0, value) for i, (kind, value) in enumerate(tests)]
    body += ends
    return [(_EQUAL, 0, len(body), number), *body]
