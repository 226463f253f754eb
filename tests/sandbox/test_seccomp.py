"""The filter, run in a small interpreter of classic BPF: every architecture, on any machine."""

import struct

import pytest

from app.sandbox import IsolationError
from app.sandbox.executors.seccomp import ARCHITECTURES, build_filter

ALLOW, KILL, EPERM, ENOSYS, EAFNOSUPPORT = 0x7FFF0000, 0x80000000, 0x50001, 0x50026, 0x50061


def decide(machine: str, number: int, *args: int, audit: int | None = None) -> int:
    """What the filter returns for a call."""
    arch = ARCHITECTURES[machine].audit if audit is None else audit
    padded = [*args, *[0] * (6 - len(args))]
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    program = list(struct.iter_unpack("=HBBI", build_filter(machine)))
    position, register = 0, 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            register = struct.unpack_from("=I", data, value)[0]
            continue
        holds = {0x15: register == value, 0x35: register >= value, 0x45: bool(register & value)}
        position += if_true if holds[code] else if_false


machines = pytest.mark.parametrize("machine", sorted(ARCHITECTURES))


@machines
def test_every_listed_call_is_refused(machine: str) -> None:
    denied = ARCHITECTURES[machine].denied
    assert {name: decide(machine, number) for name, number in denied.items()} == dict.fromkeys(
        denied, EPERM
    )


@machines
def test_the_critical_calls_are_listed(machine: str) -> None:
    critical = {
        "io_uring_setup", "unshare", "setns", "mount", "pivot_root", "chroot", "fsopen",
        "ptrace", "process_vm_readv", "process_vm_writev", "keyctl", "add_key", "request_key",
        "bpf", "perf_event_open", "userfaultfd", "kexec_load", "finit_module",
        "open_by_handle_at", "personality", "pidfd_getfd",
    }  # fmt: skip
    assert critical <= set(ARCHITECTURES[machine].denied)


@machines
def test_everything_else_is_allowed(machine: str) -> None:
    table = ARCHITECTURES[machine]
    handled = {*table.denied.values(), table.clone3, table.socket, table.socketpair}
    others = [number for number in range(460) if number not in handled]
    assert {decide(machine, number) for number in others} == {ALLOW}


@machines
def test_only_three_socket_families_open(machine: str) -> None:
    table = ARCHITECTURES[machine]
    for call in (table.socket, table.socketpair):
        opened = [family for family in range(50) if decide(machine, call, family) == ALLOW]
        assert opened == [1, 2, 10]
        assert decide(machine, call, 40) == EAFNOSUPPORT


@machines
def test_clone_makes_threads_but_no_namespaces(machine: str) -> None:
    table = ARCHITECTURES[machine]
    assert decide(machine, table.clone, 17) == ALLOW
    assert decide(machine, table.clone, 0x3D0F00) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(machine, table.clone, flag | 17) == EPERM
    assert decide(machine, table.clone3) == ENOSYS


@machines
def test_terminal_injection_is_refused(machine: str) -> None:
    table = ARCHITECTURES[machine]
    assert decide(machine, table.ioctl, 0, 0x5412) == EPERM
    assert decide(machine, table.ioctl, 0, 0x5401) == ALLOW


@machines
def test_a_foreign_architecture_is_killed(machine: str) -> None:
    assert decide(machine, 0, audit=0x40000003) == KILL


def test_the_x32_table_is_refused() -> None:
    assert decide("x86_64", 0x40000000 + 41) == ENOSYS


def test_an_unknown_machine_is_no_isolation() -> None:
    with pytest.raises(IsolationError, match="riscv"):
        build_filter("riscv64")
