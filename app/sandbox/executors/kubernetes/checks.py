"""What a cluster must be and have before anything runs on it; each question asked at the start.

That the policies are enforced, and not only present, every pod proves itself: `sandbox/gate.py`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.sandbox.executors.kubernetes.api import Api, ApiError
from app.sandbox.executors.levels import level_of
from app.sandbox.types import IsolationError

OLDEST = (1, 27)
USER_NAMESPACES = (1, 33)
"""The first version that has them on by default (KEP-127)."""

_APPLY = "Apply sandbox/kubernetes: `kubectl apply -k sandbox/kubernetes`."
# verb, API group, resource; what sandbox/kubernetes/rbac.yaml grants
RIGHTS = (
    ("create", "batch", "jobs"), ("list", "batch", "jobs"), ("delete", "batch", "jobs"),
    ("list", "", "pods"), ("watch", "", "pods"), ("delete", "", "pods"),
    ("get", "", "pods/attach"), ("create", "", "pods/attach"), ("get", "", "pods/log"),
    ("list", "", "events"), ("list", "", "resourcequotas"), ("list", "", "limitranges"),
    ("list", "networking.k8s.io", "networkpolicies"),
)  # fmt: skip
# Labels that the Job controller adds to pods, whatever their values.
_ADDED = ("job-name", "controller-uid", "batch.kubernetes.io/job-name",
          "batch.kubernetes.io/controller-uid")  # fmt: skip

Object = Mapping[str, Any]


async def version(api: Api) -> tuple[int, int]:
    """The cluster's version. Raises IsolationError for one that is too old, ApiError."""
    answer = await api.get("/version")
    found = re.match(r"v?(\d+)\.(\d+)", str(answer.get("gitVersion", "")))
    if found is None:
        raise IsolationError("The cluster does not tell its version.", "Check UAOL's kubeconfig.")
    major, minor = int(found[1]), int(found[2])
    if (major, minor) < OLDEST:
        hint = f"Use Kubernetes {OLDEST[0]}.{OLDEST[1]} or newer."
        raise IsolationError(f"The cluster's version is {major}.{minor}.", hint)
    return major, minor


async def check_rights(api: Api, namespace: str) -> None:
    """Ask for each right. Raises IsolationError that names those that are missing, ApiError."""
    missing = [
        f"{verb} {resource}"
        for verb, group, resource in RIGHTS
        if not await _may(api, namespace, verb, group, resource)
    ]
    if missing:
        raise IsolationError(
            f"The server's account lacks rights in {namespace}: {', '.join(missing)}.", _APPLY
        )


async def check_objects(api: Api, namespace: str, labels: Mapping[str, str]) -> None:
    """See that policies, a quota and limits are there. Raises IsolationError, ApiError."""
    place = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    check_policies((await api.get(place)).get("items", []), labels)
    for plural, kind in (("resourcequotas", "ResourceQuota"), ("limitranges", "LimitRange")):
        answer = await api.get(f"/api/v1/namespaces/{namespace}/{plural}")
        if not answer.get("items"):
            raise IsolationError(f"The namespace {namespace} has no {kind}.", _APPLY)


def check_policies(policies: Iterable[Object], labels: Mapping[str, str]) -> None:
    """See that pods of these labels may speak to nobody. Policies add up: one hole is enough.

    Raises IsolationError.
    """
    own = {**dict.fromkeys(_ADDED, ""), **labels}
    closed: set[str] = set()
    for policy in policies:
        spec = policy.get("spec") or {}
        if not _selects(spec.get("podSelector") or {}, own):
            continue
        for direction in _directions(spec):
            if spec.get(direction.lower()):
                name = (policy.get("metadata") or {}).get("name")
                hint = "Delete the policy, or give the sandboxes a namespace of their own."
                reason = f"The NetworkPolicy {name} opens the sandboxes' network ({direction})."
                raise IsolationError(reason, hint)
            closed.add(direction)
    for direction in ("Egress", "Ingress"):
        if direction not in closed:
            raise IsolationError(f"No NetworkPolicy closes the sandboxes' {direction}.", _APPLY)


async def level(api: Api, runtime_class: str | None) -> str:
    """The word for the walls that a runtime class gives.

    One that cannot be read counts as a plain container. Raises IsolationError if there is none
    of the name, ApiError.
    """
    if runtime_class is None:
        return "container"
    try:
        answer = await api.get(f"/apis/node.k8s.io/v1/runtimeclasses/{runtime_class}")
    except ApiError as error:
        if error.status == 404:
            hint = "Install it on the cluster, or change UAOL_SANDBOX_K8S_RUNTIME_CLASS."
            raise IsolationError(f"There is no RuntimeClass {runtime_class!r}.", hint) from error
        if error.status == 403:
            return "container"
        raise
    return level_of(str(answer.get("handler", "")))


async def _may(api: Api, namespace: str, verb: str, group: str, resource: str) -> bool:
    name, _, part = resource.partition("/")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": name,
             **({"subresource": part} if part else {})}  # fmt: skip
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = await api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return (answer.get("status") or {}).get("allowed") is True


def _directions(spec: Object) -> list[str]:
    """`policyTypes`, or what the API takes for it where it is missing."""
    named = spec.get("policyTypes")
    if named:
        return [str(name) for name in named]
    return ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    # a label that others add may have any value
    exact = all(labels.get(name) == value or (name in _ADDED) for name, value in wanted.items())
    return exact and all(_fits(rule, labels) for rule in selector.get("matchExpressions") or [])


def _fits(rule: Object, labels: Mapping[str, str]) -> bool:
    name, values = rule.get("key"), rule.get("values") or []
    if name in _ADDED:
        return rule.get("operator") != "DoesNotExist"
    match rule.get("operator"):
        case "In":
            return labels.get(str(name)) in values
        case "NotIn":
            return labels.get(str(name)) not in values
        case "Exists":
            return name in labels
        case "DoesNotExist":
            return name not in labels
        case _:
            return True
