"""Hosts of their own on one machine: network namespaces with addresses, joined by a bridge."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.conftest import cannot_run


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Host:
    """A namespace; its only way out is one cable to the bridge."""

    name: str
    address: str
    cable: str

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a process that sees this host's network and no other."""
        words = ["ip", "netns", "exec", self.name, *command]
        return subprocess.Popen(words, start_new_session=True, **options)

    def cut(self) -> None:
        """Pull the cable: nothing arrives any more, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.cable, "up")


@dataclass(frozen=True)
class Network:
    """The bridge's own address, and the hosts."""

    address: str
    mask: str
    hosts: tuple[Host, ...]


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """A network of `count` hosts; names and addresses of this test process only."""
    if os.geteuid() != 0:
        cannot_run("network namespaces need root")
    tag, part = f"{os.getpid() % 100_000:05d}", os.getpid() % 200 + 20
    bridge, prefix = f"uaolb{tag}", f"10.213.{part}"
    with contextlib.ExitStack() as stack:
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except (OSError, subprocess.SubprocessError) as error:
            cannot_run(f"no network of its own can be made: {error}")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{prefix}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        hosts = [
            _host(stack, bridge, f"uaoln{tag}{at}", f"{prefix}.{at + 11}", f"uaolv{tag}{at}")
            for at in range(count)
        ]
        yield Network(f"{prefix}.1", f"{prefix}.0/24", tuple(hosts))


def _host(stack: contextlib.ExitStack, bridge: str, name: str, address: str, cable: str) -> Host:
    try:
        _ip("netns", "add", name)
    except (OSError, subprocess.SubprocessError) as error:
        cannot_run(f"no network namespace can be made: {error}")
    stack.callback(_ip, "netns", "del", name)
    _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", cable, "master", bridge)
    _ip("link", "set", cable, "up")
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "link", "set", "eth0", "up")
    return Host(name, address, cable)
