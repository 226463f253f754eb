"""What clusters do when they are busy, full, forgetful or broken."""

import asyncio
from types import SimpleNamespace

import pytest

from app.sandbox.executors.kubernetes import api, namespace
from app.sandbox.executors.kubernetes.api import ApiError
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.executors.kubernetes.link import PodLink
from app.sandbox.links import Link, Room
from app.sandbox.types import IsolationError
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.objects import Object
from tests.sandbox.kubernetes.programs import ECHO, until

pytestmark = pytest.mark.anyio

JOBS = r"/jobs$"


@pytest.fixture
async def ready(backend: KubernetesBackend, cluster: Cluster) -> KubernetesBackend:
    """A backend that has looked the cluster over; from now on containers echo."""
    await backend.capabilities()
    cluster.command = ECHO
    cluster.requests.clear()
    return backend


async def answers(link: Link) -> bool:
    """Whether the sandbox gives back what it is given, and then goes."""
    await link.send(b"there?")
    is_same = await link.reader.readexactly(6) == b"there?"
    await link.kill()
    return is_same


def count(cluster: Cluster, start: str, end: str = "") -> int:
    return sum(one.startswith(start) and one.endswith(end) for one in cluster.requests)


async def test_a_name_that_is_taken_is_not_used(ready: KubernetesBackend, cluster: Cluster) -> None:
    cluster.fail("POST", JOBS, 409, reason="AlreadyExists", times=2)
    assert await answers(await ready.launch(Room()))
    assert count(cluster, "POST") == 3


async def test_names_are_not_tried_for_ever(ready: KubernetesBackend, cluster: Cluster) -> None:
    cluster.fail("POST", JOBS, 409, reason="AlreadyExists", times=9)
    with pytest.raises(OSError, match="AlreadyExists"):
        await ready.launch(Room())
    assert count(cluster, "POST") == 4


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_obeyed(
    ready: KubernetesBackend, cluster: Cluster, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.fail("POST", JOBS, status, headers={"Retry-After": "7"}, times=2)
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    # for the client alone: whatever else there is in this process has its own pauses
    monkeypatch.setattr(api, "asyncio", SimpleNamespace(sleep=note, to_thread=asyncio.to_thread))
    assert await answers(await ready.launch(Room()))
    assert waits == [7.0, 7.0]


async def test_a_full_quota_is_said_and_passes(ready: KubernetesBackend, cluster: Cluster) -> None:
    full = 'jobs.batch "x" is forbidden: exceeded quota: uaol-sandbox'
    cluster.fail("POST", JOBS, 403, reason="Forbidden", message=full)
    with pytest.raises(OSError, match="exceeded quota"):
        await ready.launch(Room())
    assert await answers(await ready.launch(Room()))


async def test_a_full_quota_of_pods_is_said(ready: KubernetesBackend, cluster: Cluster) -> None:
    cluster.pod_quota = 0
    link = await ready.launch(Room())
    with pytest.raises(OSError, match="exceeded quota"):
        await link.send(b"x")
    assert "exceeded quota" in (await link.kill()).complaint
    assert cluster.jobs == {}


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "credentials"), (403, "rbac.yaml"), (404, "namespace"), (422, "UAOL_SANDBOX_K8S")],
)
async def test_what_only_an_operator_mends_says_how(
    ready: KubernetesBackend, cluster: Cluster, status: int, hint: str
) -> None:
    cluster.fail("POST", JOBS, status, reason="No", message="it is not to be")
    with pytest.raises(IsolationError) as caught:
        await ready.launch(Room())
    assert "it is not to be" in caught.value.reason
    assert hint in caught.value.hint


async def test_a_lost_answer_is_asked_for_again(ready: KubernetesBackend, cluster: Cluster) -> None:
    cluster.fail("POST", JOBS, 0, is_done=True)
    assert await answers(await ready.launch(Room()))
    assert count(cluster, "POST") == 2


async def test_lost_answers_leave_no_sandbox(ready: KubernetesBackend, cluster: Cluster) -> None:
    cluster.fail("POST", JOBS, 0, is_done=True)
    cluster.fail("POST", JOBS, 0, times=2)
    with pytest.raises(ApiError):
        await ready.launch(Room())
    await until(lambda: not cluster.jobs and not cluster.pods)


async def test_a_launch_that_is_given_up_leaves_no_sandbox(
    ready: KubernetesBackend, cluster: Cluster
) -> None:
    cluster.fail("POST", JOBS, -2)
    launching = asyncio.create_task(ready.launch(Room()))
    await until(lambda: count(cluster, "POST") == 1)
    launching.cancel()
    await asyncio.wait([launching])
    cluster.hold.set()
    await until(lambda: count(cluster, "DELETE") >= 1)
    await until(lambda: not cluster.jobs and not cluster.pods)


@pytest.mark.parametrize(
    ("state", "conditions", "said"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}, [],
         "ImagePullBackOff: no such tag"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "seccomp"}}, [],
         "CreateContainerConfigError: seccomp"),
    ],
)  # fmt: skip
async def test_a_pod_that_cannot_start_is_given_up(
    ready: KubernetesBackend, cluster: Cluster, state: Object, conditions: list[Object], said: str
) -> None:
    async def stuck(name: str) -> None:
        cluster.set_state(name, state, "Pending", conditions=conditions)

    cluster.kubelet = stuck
    link = await ready.launch(Room())
    with pytest.raises(ConnectionResetError):
        await link.send(b"x")
    assert said in (await link.kill()).complaint


async def test_a_pod_that_no_node_takes_says_so_when_killed(
    ready: KubernetesBackend, cluster: Cluster
) -> None:
    lacking = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }  # fmt: skip

    async def unscheduled(name: str) -> None:
        cluster.pods[name]["status"] = {"phase": "Pending", "conditions": [lacking]}
        cluster.emit("MODIFIED", name)

    cluster.kubelet = unscheduled
    link = await ready.launch(Room())
    assert isinstance(link, PodLink)
    await until(lambda: link._followed.pod is not None and "conditions" in str(link._followed.pod))
    assert "3 Insufficient memory" in (await link.kill()).complaint


async def test_a_dropped_watch_goes_on(ready: KubernetesBackend, cluster: Cluster) -> None:
    link = await ready.launch(Room())
    for _ in range(3):
        await until(lambda: bool(cluster.watches))
        seen = count(cluster, "GET", "/pods")
        cluster.drop_watches()
        await until(lambda seen=seen: count(cluster, "GET", "/pods") > seen)  # type: ignore[misc]
    assert await answers(link)


async def test_a_forgotten_past_is_listed_anew(ready: KubernetesBackend, cluster: Cluster) -> None:
    gate = asyncio.Event()
    run = cluster.run

    async def late(name: str) -> None:
        await gate.wait()
        await run(name)

    cluster.kubelet = late
    link = await ready.launch(Room())
    await until(lambda: bool(cluster.pods))
    cluster.fail("GET", r"/pods$", 410, reason="Expired")
    cluster.compact()
    gate.set()
    assert await answers(link)


async def test_a_pod_that_went_unseen_is_gone(ready: KubernetesBackend, cluster: Cluster) -> None:
    link = await ready.launch(Room())
    await link.send(b"x")
    assert await link.reader.readexactly(1) == b"x"
    name = next(iter(cluster.pods))
    cluster.fail("GET", r"/pods$", 500, times=3)
    cluster.drop_watches()
    await until(lambda: not cluster.watches)
    await cluster.remove_pod(name)
    cluster.history.clear()
    cluster.oldest = cluster.version
    assert await link.reader.read() == b""
    await link.kill()
    assert cluster.jobs == {}


async def test_a_kubelet_that_is_not_ready_is_asked_again(
    ready: KubernetesBackend, cluster: Cluster
) -> None:
    cluster.fail("GET", r"/attach$", 500, times=2)
    assert await answers(await ready.launch(Room()))
    assert count(cluster, "GET", "/attach") == 3


async def test_no_right_to_attach_is_said(ready: KubernetesBackend, cluster: Cluster) -> None:
    cluster.fail("GET", r"/attach$", 403)
    link = await ready.launch(Room())
    with pytest.raises(ConnectionResetError, match="403"):
        await link.send(b"x")
    assert "403" in (await link.kill()).complaint


async def test_a_delete_that_hangs_goes_on_behind(
    ready: KubernetesBackend, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "_REMOVE_SECONDS", 0.1)
    finished = asyncio.Event()
    cluster.hold = finished
    cluster.fail("DELETE", r"/jobs/", -2)
    link = await ready.launch(Room())
    await link.send(b"x")
    await link.reader.readexactly(1)
    await link.kill()
    assert cluster.jobs
    finished.set()
    await until(lambda: not cluster.jobs and not cluster.pods)


async def test_a_delete_that_fails_is_made_again(
    ready: KubernetesBackend, cluster: Cluster
) -> None:
    cluster.fail("DELETE", r"/jobs/", 500, times=2)
    cluster.fail("DELETE", r"/pods/", 0)
    assert await answers(await ready.launch(Room()))
    assert (cluster.jobs, cluster.pods) == ({}, {})
