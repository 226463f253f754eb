"""The system-call filter, assembled to classic BPF in pure Python.

Default allow with a deny list: the walls are the namespaces; this takes away the kernel surface
that has broken such walls before (io_uring, user namespaces, bpf, keyrings, odd socket families).
Layout of `struct seccomp_data` and return values: Linux `include/uapi/linux/seccomp.h`.
"""

import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from app.sandbox.types import IsolationError

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_X32_BIT = 0x40000000
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
# NEWTIME | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
_NAMESPACE_FLAGS = 0x80 | 0x20000 | 0x02000000 | 0x7C000000
CLONE_FLAGS = _NAMESPACE_FLAGS & ~0x80  # the low byte of clone's flags is the exit signal
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
FAMILIES, TERMINAL_REQUESTS = (_AF_UNIX, _AF_INET, _AF_INET6), (_TIOCSTI, _TIOCLINUX)

# Same number on every architecture since Linux 5.1.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443, "open_tree_attr": 467,
}  # fmt: skip
_X86_64 = {
    "ptrace": 101, "syslog": 103, "uselib": 134, "personality": 135, "modify_ldt": 154,
    "pivot_root": 155, "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163,
    "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
    "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "create_module": 174, "init_module": 175, "delete_module": 176, "query_module": 178,
    "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256,
    "unshare": 272, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
    "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42,
    "chroot": 51, "quotactl": 60, "acct": 89, "personality": 92, "unshare": 97,
    "kexec_load": 104, "init_module": 105, "delete_module": 106, "clock_settime": 112,
    "syslog": 116, "ptrace": 117, "reboot": 142, "sethostname": 161, "setdomainname": 162,
    "settimeofday": 170, "adjtimex": 171, "add_key": 217, "request_key": 218, "keyctl": 219,
    "swapon": 224, "swapoff": 225, "migrate_pages": 238, "move_pages": 239,
    "perf_event_open": 241, "fanotify_init": 262, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
    "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "bpf": 280,
    "userfaultfd": 282, "kexec_file_load": 294,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """The numbers of one system-call table; `audit` is its AUDIT_ARCH value."""

    audit: int
    denied: Mapping[str, int]
    clone: int
    socket: int
    socketpair: int
    ioctl: int
    clone3: int = 435
    has_x32: bool = False


ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(0xC000003E, {**_X86_64, **_COMMON}, 56, 41, 53, 16, has_x32=True),
    "aarch64": Architecture(0xC00000B7, {**_AARCH64, **_COMMON}, 220, 198, 199, 29),
}


def architecture(name: str) -> Architecture:
    """The table of an architecture by its machine name. Raises IsolationError if there is none."""
    table = ARCHITECTURES.get(name)
    if table is None:
        hint = f"The sandbox supports: {', '.join(ARCHITECTURES)}."
        raise IsolationError(f"No system-call filter for the architecture {name!r}.", hint)
    return table


def build_filter(machine: str | None = None) -> bytes:
    """The filter for `machine` (default: this one) as the bytes of `struct sock_filter[]`.

    Raises IsolationError for an architecture without a table here.
    """
    table = architecture(machine or platform.machine())
    return b"".join(_prologue(table) + _denials(table) + _arguments(table) + [_ret(_ALLOW)])


def _prologue(table: Architecture) -> list[bytes]:
    program = [
        _op(_LOAD, _ARCH), _op(_JUMP_EQ, table.audit, 1, 0), _ret(_KILL_PROCESS),
        _op(_LOAD, _NR),
    ]  # fmt: skip
    if table.has_x32:
        program += [_op(_JUMP_GE, _X32_BIT, 0, 1), _errno(_ENOSYS)]
    return program


def _denials(table: Architecture) -> list[bytes]:
    program = []
    for number in sorted(table.denied.values()):
        program += [_op(_JUMP_EQ, number, 0, 1), _errno(_EPERM)]
    # ENOSYS makes libc fall back to clone, whose flags a filter can read; clone3's it cannot.
    return [*program, _op(_JUMP_EQ, table.clone3, 0, 1), _errno(_ENOSYS)]


def _arguments(table: Architecture) -> list[bytes]:
    clone = [
        _op(_LOAD, _ARG0), _op(_JUMP_SET, CLONE_FLAGS, 0, 1), _errno(_EPERM), _ret(_ALLOW),
    ]  # fmt: skip
    terminal = [
        _op(_LOAD, _ARG1), _op(_JUMP_EQ, _TIOCSTI, 1, 0), _op(_JUMP_EQ, _TIOCLINUX, 0, 1),
        _errno(_EPERM), _ret(_ALLOW),
    ]  # fmt: skip
    family = [
        _op(_LOAD, _ARG0), _op(_JUMP_EQ, _AF_UNIX, 3, 0), _op(_JUMP_EQ, _AF_INET, 2, 0),
        _op(_JUMP_EQ, _AF_INET6, 1, 0), _errno(_EAFNOSUPPORT), _ret(_ALLOW),
    ]  # fmt: skip
    return [
        *_when(table.clone, clone), *_when(table.ioctl, terminal),
        *_when(table.socket, family), *_when(table.socketpair, family),
    ]  # fmt: skip


def _when(number: int, body: list[bytes]) -> list[bytes]:
    return [_op(_JUMP_EQ, number, 0, len(body)), *body]


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _ret(action: int) -> bytes:
    return _op(_RETURN, action)


def _errno(number: int) -> bytes:
    return _ret(_ERRNO | number)
