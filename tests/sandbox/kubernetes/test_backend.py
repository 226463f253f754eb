"""The backend looks a cluster over once: what it asks, what it refuses, what it tells."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.sandbox import AUTO, make_executors
from app.sandbox.executors.kubernetes import Site, jobs
from app.sandbox.executors.kubernetes.access import Access
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.executors.kubernetes.site import INSTANCE, OWNED, this_instance
from app.sandbox.links import Mounted, Room
from app.sandbox.types import IsolationError
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.conftest import SITE
from tests.sandbox.kubernetes.objects import NAMESPACE

pytestmark = pytest.mark.anyio


async def refusal(cluster: Cluster, site: Site = SITE) -> IsolationError:
    """What a backend says of this cluster, which it does not take; nothing is left there."""
    backend = KubernetesBackend(site, lambda _context: Access(cluster.url))
    with pytest.raises(IsolationError) as caught:
        await backend.capabilities()
    await backend.close()
    assert (cluster.jobs, cluster.pods) == ({}, {})
    assert caught.value.hint
    return caught.value


async def test_a_first_pod_tells_what_the_image_is(
    backend: KubernetesBackend, cluster: Cluster
) -> None:
    known = await backend.capabilities()
    assert (known.executor, known.level, known.image) == ("kubernetes", "container", "sha256:feed")
    assert known.python.startswith("3.")
    assert {"network policy", "seccomp"} <= set(known.isolation)
    assert "user namespace" not in known.isolation
    head = await backend.head()
    assert (head["prefix"], head["tools"]) == ("/usr", "/opt/uaol")
    assert (cluster.jobs, cluster.pods) == ({}, {})
    cluster.requests.clear()
    assert await backend.capabilities() == known
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("handler", "level"),
    [("runsc", "gvisor"), ("kata-qemu", "microvm"), ("youki", "container")],
)
async def test_the_level_is_the_runtimes(cluster: Cluster, handler: str, level: str) -> None:
    cluster.runtime_classes["strong"] = handler
    site = replace(SITE, runtime_class="strong")
    backend = KubernetesBackend(site, lambda _context: Access(cluster.url))
    known = await backend.capabilities()
    assert known.level == level
    assert "runtime class strong" in known.isolation
    await backend.close()


async def test_user_namespaces_are_used_where_the_version_has_them(cluster: Cluster) -> None:
    for version, is_used in (("v1.32.9", False), ("v1.33.0-eks-1", True)):
        cluster.git_version = version
        site = replace(SITE, user_namespaces="auto")
        backend = KubernetesBackend(site, lambda _context: Access(cluster.url))
        assert ("user namespace" in (await backend.capabilities()).isolation) is is_used
        await backend.close()


async def test_it_wants_an_image(cluster: Cluster) -> None:
    assert "UAOL_SANDBOX_K8S_IMAGE" in (await refusal(cluster, Site())).hint


async def test_an_old_cluster_is_refused(cluster: Cluster) -> None:
    cluster.git_version = "v1.26.15"
    assert "1.26" in (await refusal(cluster)).reason


async def test_missing_rights_are_named(cluster: Cluster) -> None:
    cluster.denied = {"create jobs", "get pods/attach"}
    assert "create jobs, get pods/attach" in (await refusal(cluster)).reason


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, "No NetworkPolicy closes the sandboxes' Egress"),
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, "closes the sandboxes' Egress"),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, "closes the sandboxes' Ingress"),
        ({"podSelector": {}}, "closes the sandboxes' Egress"),
        ({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Ingress", "Egress"]},
         "closes the sandboxes' Egress"),
    ],
)  # fmt: skip
async def test_policies_must_be_there(
    cluster: Cluster, spec: dict[str, object] | None, said: str
) -> None:
    cluster.policies = [{"metadata": {"name": "mine"}, "spec": spec}] if spec else []
    assert said in (await refusal(cluster)).reason


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchLabels": OWNED},
        {"matchExpressions": [{"key": INSTANCE, "operator": "Exists"}]},
        {"matchExpressions": [{"key": "job-name", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
    ],
)
async def test_one_open_policy_is_one_too_many(
    cluster: Cluster, selector: dict[str, object]
) -> None:
    rule = {"podSelector": selector, "egress": [{"to": []}]}
    cluster.policies.append({"metadata": {"name": "hole"}, "spec": rule})
    assert "hole opens the sandboxes' network (Egress)" in (await refusal(cluster)).reason


async def test_policies_of_others_do_not_matter(
    backend: KubernetesBackend, cluster: Cluster
) -> None:
    rule = {"podSelector": {"matchLabels": {"app": "web"}}, "egress": [{}]}
    cluster.policies.append({"metadata": {"name": "web"}, "spec": rule})
    assert (await backend.capabilities()).executor == "kubernetes"


async def test_quota_and_limits_must_be_there(cluster: Cluster) -> None:
    cluster.limits = []
    assert "no LimitRange" in (await refusal(cluster)).reason
    cluster.quotas = []
    assert "no ResourceQuota" in (await refusal(cluster)).reason


async def test_a_runtime_class_must_be_there(cluster: Cluster) -> None:
    site = replace(SITE, runtime_class="kata")
    assert "no RuntimeClass 'kata'" in (await refusal(cluster, site)).reason


async def test_a_network_that_nothing_shuts_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_POLICY_S", 0)
    jobs._options.cache_clear()
    cluster.is_network_open = True
    found = await refusal(cluster)
    jobs._options.cache_clear()
    assert "No NetworkPolicy is enforced" in found.reason
    assert "network plugin" in found.hint


async def test_another_servers_image_is_refused(cluster: Cluster) -> None:
    facts = cluster.image.tools / "image.json"
    told = facts.read_text(encoding="utf-8")
    facts.chmod(0o644)
    try:
        facts.write_text(told.replace('"tools": "', '"tools": "0'), encoding="utf-8")
        assert "another version" in (await refusal(cluster)).reason
        facts.write_text("{}", encoding="utf-8")
        assert "not a sandbox image" in (await refusal(cluster)).reason
        facts.rename(facts.with_suffix(".away"))
        assert "not a sandbox image" in (await refusal(cluster)).reason
    finally:
        facts.with_suffix(".away").unlink(missing_ok=True)
        facts.write_text(told, encoding="utf-8")


async def test_a_pod_that_does_not_start_is_explained(cluster: Cluster) -> None:
    async def stuck(name: str) -> None:
        waiting = {"reason": "ErrImagePull", "message": "registry.example: no such host"}
        cluster.set_state(name, {"waiting": waiting}, "Pending")

    cluster.kubelet = stuck
    assert "ErrImagePull: registry.example: no such host" in (await refusal(cluster)).reason


async def test_a_cluster_that_cannot_be_reached_is_explained(cluster: Cluster) -> None:
    cluster.fail("GET", "/version", 401, reason="Unauthorized", message="who are you?")
    assert "who are you?" in (await refusal(cluster)).reason


async def test_rooms_that_a_pod_cannot_be_are_refused(
    backend: KubernetesBackend, cluster: Cluster
) -> None:
    for room in (Room(egress=Path("/x")), Room(mounts=(Mounted(Path("/x"), "/data/x"),))):
        with pytest.raises(IsolationError):
            await backend.launch(room)
    assert cluster.requests == []


async def test_orphans_of_ended_processes_are_swept(
    backend: KubernetesBackend, cluster: Cluster
) -> None:
    mine = this_instance()
    namespace, pid, began = mine.process.split("-")
    dead = replace(mine, process=f"{namespace}-{2**22 - 1}-{began}")
    reborn = replace(mine, process=f"{namespace}-{pid}-{int(began) + 1}")
    unseen = replace(mine, process=f"1-{2**22 - 1}-{began}")
    elsewhere = replace(dead, machine="0" * 16)
    owners = {
        "dead": dead, "reborn": reborn, "other": elsewhere, "unseen": unseen, "mine": mine,
    }  # fmt: skip
    for name, owner in owners.items():
        labels = {**OWNED, INSTANCE: owner.label}
        cluster.jobs[name] = {"metadata": {"name": name, "labels": labels}}
    cluster.jobs["strange"] = {"metadata": {"name": "strange", "labels": {INSTANCE: "what"}}}
    await backend.capabilities()
    assert set(cluster.jobs) == {"other", "unseen", "mine", "strange"}
    assert f"DELETE /apis/batch/v1/namespaces/{NAMESPACE}/jobs/dead" in cluster.requests
    assert all(len(value) <= 63 for value in mine.labels.values())


def test_it_is_chosen_by_name_alone() -> None:
    assert [one.name for one in make_executors("kubernetes")] == ["kubernetes"]
    assert "kubernetes" not in AUTO


def test_the_client_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, app.sandbox; sys.exit('kubernetes' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
