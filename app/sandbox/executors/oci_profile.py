"""The system-call filter as the JSON profile that container engines take.

Made from the tables of `seccomp.py`, so that every executor refuses the same calls. The engine
assembles it with libseccomp, which skips names newer than itself: those need privileges that no
sandbox has. Format: the OCI runtime specification, `linux.seccomp`, as Docker reads it.
"""

import platform
from collections.abc import Iterable, Iterator
from typing import Any

from app.sandbox.executors.seccomp import (
    CLONE_FLAGS,
    FAMILIES,
    TERMINAL_REQUESTS,
    architecture,
)

_NAMES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_INT = 0xFFFFFFFF

Rule = dict[str, Any]


def oci_profile(machine: str | None = None) -> dict[str, Any]:
    """The profile for `machine` (default: this one), ready for `json.dumps`.

    Raises IsolationError for an architecture without a table.
    """
    name = machine or platform.machine()
    table = architecture(name)
    # no x32 and no 32-bit calls: an architecture that is not listed is not served
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [_NAMES[name]],
        "syscalls": [
            _refuse(sorted(table.denied), _EPERM),
            # libc falls back to clone, whose flags a filter can read
            _refuse(["clone3"], _ENOSYS),
            *(_refuse(["clone"], _EPERM, _masked(0, bit, bit)) for bit in _bits(CLONE_FLAGS)),
            # the kernel reads 32 bits of the request, so no more may be compared
            *(_refuse(["ioctl"], _EPERM, _masked(1, _INT, value)) for value in TERMINAL_REQUESTS),
            *_families(FAMILIES),
        ],
    }


def _families(allowed: Iterable[int]) -> Iterator[Rule]:
    """Refuse every family but these: libseccomp cannot join several conditions on one argument."""
    highest = max(allowed)
    calls = ["socket", "socketpair"]
    for family in set(range(highest)) - set(allowed):
        yield _refuse(calls, _EAFNOSUPPORT, _compared(0, "SCMP_CMP_EQ", family))
    yield _refuse(calls, _EAFNOSUPPORT, _compared(0, "SCMP_CMP_GT", highest))


def _bits(flags: int) -> list[int]:
    return [1 << place for place in range(32) if flags & 1 << place]


def _refuse(names: list[str], errno: int, *conditions: Rule) -> Rule:
    return {
        "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": list(conditions),
    }  # fmt: skip


def _masked(index: int, mask: int, value: int) -> Rule:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _compared(index: int, op: str, value: int) -> Rule:
    return {"index": index, "value": value, "valueTwo": 0, "op": op}
