"""Every manifest: valid by the published schema, and with every wall in it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.sandbox.executors.kubernetes import checks
from app.sandbox.executors.kubernetes.jobs import Builder, check_room, memory_bytes
from app.sandbox.executors.kubernetes.site import OWNED, Site
from app.sandbox.links import Mounted, Room
from app.sandbox.types import IsolationError, Limits
from tests.sandbox.kubernetes.schema import problems

GOLDEN = Path(__file__).parent / "golden"
OPERATOR = Path(__file__).resolve().parents[3] / "sandbox" / "kubernetes"
LABELS = {**OWNED, "uaol-instance": "0123456789abcdef-1-2"}
SITE = Site(image="registry.example/uaol-sandbox:1")
ROOM = Room(Limits(memory_bytes=2**30, tmp_bytes=2**25), work_bytes=2**26)

Object = dict[str, Any]

VARIANTS = {
    "plain": (SITE, ROOM, True),
    "gvisor": (
        replace(SITE, runtime_class="gvisor", seccomp="uaol/sandbox.json", cpu=0.5,
                claims={"/data/hg38": "hg38"}),
        replace(ROOM, mounts=(Mounted(Path("/srv/hg38"), "/data/hg38"),)),
        False,
    ),
}  # fmt: skip


def job(name: str) -> Object:
    site, room, has_user_namespace = VARIANTS[name]
    builder = Builder(site, LABELS, has_user_namespace, has_kernel=not has_user_namespace)
    return builder.with_interpreter("/usr/bin/python3.11").sandbox("uaol-0123456789ab", room)


def operators() -> list[Object]:
    return [
        manifest
        for path in sorted(OPERATOR.glob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def stable(made: Object) -> Object:
    """Without the programs that are given along, which have tests of their own."""
    pod = made["spec"]["template"]["spec"]
    pod["containers"][0]["command"][-2:] = ["<sandbox/gate.py>", "<options>"]
    return made


@pytest.mark.parametrize("name", VARIANTS)
def test_jobs_are_as_they_were_agreed(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert stable(job(name)) == golden


@pytest.mark.parametrize("name", VARIANTS)
def test_jobs_fit_the_published_schema(name: str) -> None:
    assert problems(job(name)) == []


@pytest.mark.parametrize("manifest", operators(), ids=lambda one: f"{one['kind']}")
def test_the_operators_manifests_fit_the_published_schema(manifest: Object) -> None:
    if manifest["kind"] == "Kustomization":
        files = {path.name for path in OPERATOR.glob("*.yaml")} - {"kustomization.yaml"}
        assert set(manifest["resources"]) == files
    else:
        assert problems(manifest) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda job: job["spec"].update(backofLimit=0), "Job.spec.backofLimit: V1JobSpec has no"),
        (lambda job: job["spec"].update(backoffLimit="0"), "'0' is no int"),
        (lambda job: job["spec"].update(backoffLimit=True), "True is no int"),
        (lambda job: job["spec"].pop("template"), "Job.spec.template: missing"),
        (lambda job: job["metadata"]["labels"].update(a=1), "Job.metadata.labels.a: 1 is no str"),
        (lambda job: job["spec"]["template"]["spec"].update(containers={}), "is no list"),
        (lambda job: job.update(apiVersion="batch/v9"), "there is no Job of batch/v9"),
    ],
)
def test_the_schema_check_sees_mistakes(change: Any, problem: str) -> None:
    made = job("plain")
    change(made)
    assert any(problem in one for one in problems(made)), problems(made)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_wall_is_in_every_job(name: str) -> None:
    pod = job(name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    security, inner = pod["securityContext"], container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (65534, 65534)
    assert security["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert (inner["allowPrivilegeEscalation"], inner["privileged"]) == (False, False)
    assert inner["readOnlyRootFilesystem"] is True
    for flag in ("automountServiceAccountToken", "enableServiceLinks", "hostNetwork", "hostPID",
                 "hostIPC", "shareProcessNamespace"):  # fmt: skip
        assert pod[flag] is False
    assert pod["dnsPolicy"] == "None"
    assert "env" not in container
    assert "envFrom" not in container
    assert container["resources"]["limits"] == container["resources"]["requests"]
    for volume in pod["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["medium"] == "Memory"
            assert int(volume["emptyDir"]["sizeLimit"]) > 0
        else:
            assert volume["persistentVolumeClaim"]["readOnly"] is True


def test_memory_holds_the_task_and_all_files() -> None:
    pod = job("plain")["spec"]["template"]["spec"]
    sizes = [int(one["emptyDir"]["sizeLimit"]) for one in pod["volumes"]]
    given = int(pod["containers"][0]["resources"]["limits"]["memory"])
    assert given == memory_bytes(ROOM) > ROOM.limits.memory_bytes + sum(sizes)


def test_without_user_namespaces_no_two_sandboxes_are_one_user() -> None:
    builder = Builder(SITE, LABELS, has_user_namespace=False)
    pods = [builder.sandbox("a", ROOM)["spec"]["template"]["spec"] for _ in range(20)]
    assert len({pod["securityContext"]["runAsUser"] for pod in pods}) == 20
    assert all("hostUsers" not in pod for pod in pods)


def test_the_surveys_pod_has_the_same_walls() -> None:
    builder = Builder(SITE, LABELS, has_user_namespace=True)
    run, look = (one["spec"]["template"]["spec"] for one in
                 (builder.sandbox("a", ROOM), builder.survey("a")))  # fmt: skip
    assert run["securityContext"] == look["securityContext"]
    assert run["containers"][0]["securityContext"] == look["containers"][0]["securityContext"]
    assert look["containers"][0]["stdin"] is False


@pytest.mark.parametrize("name", VARIANTS)
def test_jobs_satisfy_the_limits_that_the_operator_applies(name: str) -> None:
    (limits,) = (one for one in operators() if one["kind"] == "LimitRange")
    highest = limits["spec"]["limits"][0]["max"]
    asked = job(name)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    for resource, value in asked.items():
        assert quantity(value) <= quantity(highest[resource])


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m|Ki|Mi|Gi|)", text)
    assert match
    factor = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}[match[2]]
    return float(match[1]) * factor


def test_the_operators_policy_is_one_that_the_server_accepts() -> None:
    found = [one for one in operators() if one["kind"] == "NetworkPolicy"]
    checks.check_policies(found, LABELS)


def test_the_role_grants_what_the_server_asks_for_and_no_more() -> None:
    (role,) = (one for one in operators() if one["kind"] == "Role")
    granted = {
        (verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == set(checks.RIGHTS)


def test_a_policy_of_egress_is_refused() -> None:
    with pytest.raises(IsolationError, match="no network"):
        check_room(replace(ROOM, egress=Path("/run/door")), SITE)


def test_folders_of_the_server_are_refused_but_for_claims() -> None:
    room = replace(ROOM, mounts=(Mounted(Path("/srv/hg38"), "/data/hg38"),))
    check_room(room, replace(SITE, claims={"/data/hg38": "hg38"}))
    with pytest.raises(IsolationError, match="/data/hg38"):
        check_room(room, SITE)
