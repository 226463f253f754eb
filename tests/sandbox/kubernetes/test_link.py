"""A sandbox's stream and its end, over the true wire of attach."""

import asyncio
import os

import pytest

from app.sandbox.executors.kubernetes import link as link_module
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.executors.kubernetes.link import PodLink
from app.sandbox.links import Room
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.programs import ECHO, FLOOD, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def link(backend: KubernetesBackend, cluster: Cluster) -> PodLink:
    """A sandbox whose program gives back what it is given."""
    await backend.capabilities()
    cluster.command = ECHO
    made = await backend.launch(Room())
    assert isinstance(made, PodLink)
    return made


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
async def test_bytes_go_there_and_back(link: PodLink, cluster: Cluster, protocol: str) -> None:
    cluster.protocols = (protocol,)
    data = os.urandom(300_000)
    sending = asyncio.create_task(link.send(data))
    assert await link.reader.readexactly(len(data)) == data
    await sending
    assert (await link.kill()).complaint == ""
    assert (cluster.jobs, cluster.pods, cluster.containers) == ({}, {}, {})


async def test_a_second_kill_tells_the_same(link: PodLink, cluster: Cluster) -> None:
    await link.send(b"x")
    assert await asyncio.gather(link.kill(), link.kill()) == [await link.kill()] * 2
    with pytest.raises(OSError, match="gone"):
        await link.send(b"more")
    assert await link.reader.read() == b""


async def test_what_is_not_read_is_not_taken(backend: KubernetesBackend, cluster: Cluster) -> None:
    await backend.capabilities()
    cluster.command = FLOOD
    link = await backend.launch(Room())
    assert isinstance(link, PodLink)
    await link.send(b"go")
    assert len(await link.reader.readexactly(1)) == 1
    # the program cannot get rid of it all while nobody reads
    await until(lambda: not link._valve.is_open.is_set())
    (container,) = cluster.containers.values()
    assert container.process.returncode is None
    assert len(link.reader._buffer) < 2**21  # type: ignore[attr-defined]
    left = 2**26 - 1
    while left:
        left -= len(await link.reader.read(2**20))
    await link.kill()


async def test_killed_before_it_is_up(backend: KubernetesBackend, cluster: Cluster) -> None:
    await backend.capabilities()

    async def never(name: str) -> None:
        cluster.set_state(name, {"waiting": {"reason": "ContainerCreating"}}, "Pending")

    cluster.kubelet = never
    link = await backend.launch(Room())
    assert isinstance(link, PodLink)
    await until(lambda: "ContainerCreating" in str(link._followed.pod))
    assert "ContainerCreating" in (await link.kill()).complaint
    assert (cluster.jobs, cluster.pods) == ({}, {})


async def test_killed_at_any_moment_of_its_start(
    backend: KubernetesBackend, cluster: Cluster
) -> None:
    await backend.capabilities()
    cluster.command = ECHO
    for moment in range(0, 120, 8):
        link = await backend.launch(Room())
        await asyncio.sleep(moment / 1000)
        await link.kill()
        assert cluster.jobs == {}
        await until(lambda: not cluster.pods and not cluster.containers)


async def test_a_host_that_is_gone_ends_the_sandbox(link: PodLink, cluster: Cluster) -> None:
    await link.send(b"x")
    assert await link.reader.readexactly(1) == b"x"
    (container,) = cluster.containers.values()
    assert link._socket is not None
    assert link._socket._response.connection is not None
    link._socket._response.connection.transport.abort()  # type: ignore[union-attr]
    assert await container.wait() == 0
    await link.kill()


async def test_a_program_that_dies_says_why(backend: KubernetesBackend, cluster: Cluster) -> None:
    await backend.capabilities()
    cluster.command = ["/usr/bin/python3", "-c", "input(); raise SystemExit('no luck today')"]
    link = await backend.launch(Room())
    await link.send(b"go\n")
    assert await link.reader.read() == b""
    complaint = (await link.kill()).complaint
    assert "no luck today" in complaint
    assert "exit code 1" in complaint


async def test_out_of_memory_is_told_apart(link: PodLink, cluster: Cluster) -> None:
    await link.send(b"x")
    await link.reader.readexactly(1)
    await cluster.oom(next(iter(cluster.pods)))
    assert await link.reader.read() == b""
    fate = await link.kill()
    assert (fate.is_oom, fate.complaint) == (True, "")


async def test_an_eviction_is_the_clusters_doing(link: PodLink, cluster: Cluster) -> None:
    await link.send(b"x")
    await link.reader.readexactly(1)
    await cluster.evict(next(iter(cluster.pods)))
    assert await link.reader.read() == b""
    fate = await link.kill()
    assert not fate.is_oom
    assert "Evicted: The node was low on resource" in fate.outage


async def test_a_stream_that_breaks_is_the_clusters_doing(
    link: PodLink, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_LAST_WORDS_SECONDS", 0.2)
    await link.send(b"x")
    await link.reader.readexactly(1)
    cluster.is_deaf = True
    for socket in list(cluster.sockets):
        await socket.close()
    assert await link.reader.read() == b""
    assert (await link.kill()).outage == "the stream to its pod broke"
