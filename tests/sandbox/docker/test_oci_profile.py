"""The engine's form of the filter decides as the filter itself does, call by call."""

from typing import Any

import pytest

from app.sandbox.executors.oci_profile import oci_profile
from app.sandbox.executors.seccomp import ARCHITECTURES, Architecture
from app.sandbox.types import IsolationError
from tests.sandbox.test_seccomp import decide

ALLOW, ERRNO = 0x7FFF0000, 0x50000
machines = pytest.mark.parametrize("machine", sorted(ARCHITECTURES))


def numbers(table: Architecture) -> dict[str, int]:
    return {
        **table.denied, "clone": table.clone, "clone3": table.clone3, "socket": table.socket,
        "socketpair": table.socketpair, "ioctl": table.ioctl,
    }  # fmt: skip


def holds(condition: dict[str, Any], args: tuple[int, ...]) -> bool:
    """As libseccomp compares: 64 bits, unsigned."""
    value, op = args[condition["index"]], condition["op"]
    if op == "SCMP_CMP_MASKED_EQ":
        return bool(value & condition["value"] == condition["valueTwo"])
    compared = {
        "SCMP_CMP_EQ": value == condition["value"],
        "SCMP_CMP_GT": value > condition["value"],
    }
    return compared[op]


def decide_profile(machine: str, name: str, *args: int) -> int:
    padded = (*args, *[0] * (6 - len(args)))
    for rule in oci_profile(machine)["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ERRNO"
        # libseccomp takes one condition for each argument
        indices = [condition["index"] for condition in rule["args"]]
        assert len(indices) == len(set(indices))
        if name in rule["names"] and all(holds(one, padded) for one in rule["args"]):
            return ERRNO | int(rule["errnoRet"])
    return ALLOW


@machines
def test_every_name_is_decided_alike(machine: str) -> None:
    for name, number in numbers(ARCHITECTURES[machine]).items():
        assert decide_profile(machine, name) == decide(machine, number), name


@machines
@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_families_are_decided_alike(machine: str, call: str) -> None:
    number = numbers(ARCHITECTURES[machine])[call]
    for family in [*range(64), 2**31, 2**32 - 1]:
        assert decide_profile(machine, call, family) == decide(machine, number, family)


@machines
def test_clone_is_decided_alike_for_every_flag(machine: str) -> None:
    number = ARCHITECTURES[machine].clone
    for flags in [
        0,
        17,
        0x3D0F00,
        *(1 << bit for bit in range(32)),
        *(1 << bit | 17 for bit in range(32)),
    ]:
        assert decide_profile(machine, "clone", flags) == decide(machine, number, flags), hex(flags)


@machines
@pytest.mark.parametrize("high", [0, 1 << 32, 0xDEAD << 32])
def test_terminal_requests_are_refused_whatever_the_upper_half(machine: str, high: int) -> None:
    number = ARCHITECTURES[machine].ioctl
    for request in (0x5401, 0x5412, 0x541C, 0x5413):
        assert decide_profile(machine, "ioctl", 0, high | request) == decide(
            machine, number, 0, high | request
        )


def test_an_unknown_machine_is_no_isolation() -> None:
    with pytest.raises(IsolationError, match="riscv"):
        oci_profile("riscv64")
