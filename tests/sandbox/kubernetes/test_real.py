"""Of a real cluster, with `--k8s`: that it takes our manifests, and that nothing is left on it.

The suites of `tests/sandbox` run there too. Without the option none of this is run or claimed.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.kernel.settings import Settings
from app.sandbox.executors.kubernetes import site_of
from app.sandbox.executors.kubernetes.access import load_access
from app.sandbox.executors.kubernetes.api import Api
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.executors.kubernetes.jobs import Builder
from app.sandbox.executors.kubernetes.site import this_instance
from app.sandbox.links import Room
from app.sandbox.types import IsolationError
from tests.sandbox.kubernetes.option import needs_cluster

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[3]
PLACES = {
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}
SITE = site_of(Settings())


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    opened = Api(load_access(SITE.context))
    yield opened
    await opened.close()


@pytest.mark.k8s
async def test_the_server_takes_every_job(api: Api) -> None:
    builder = Builder(SITE, this_instance().labels, has_user_namespace=False)
    path = f"/apis/batch/v1/namespaces/{SITE.namespace}/jobs?dryRun=All&fieldValidation=Strict"
    for made in (builder.sandbox("uaol-dry-run", Room()), builder.survey("uaol-dry-run")):
        assert (await api.create(path, made))["metadata"]["uid"]


@pytest.mark.k8s
@pytest.mark.parametrize("kind", PLACES)
async def test_the_server_takes_the_operators_manifests(api: Api, kind: str) -> None:
    for path in sorted((ROOT / "sandbox" / "kubernetes").glob("*.yaml")):
        for made in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if made["kind"] == kind:
                place = PLACES[kind].format(SITE.namespace)
                named: dict[str, Any] = {
                    **made, "metadata": {"name": "uaol-dry-run", "namespace": SITE.namespace},
                }  # fmt: skip
                await api.create(f"{place}?dryRun=All&fieldValidation=Strict", named)


@pytest.mark.k8s
async def test_nothing_is_left_on_the_cluster(api: Api) -> None:
    backend = KubernetesBackend(SITE)
    known = await backend.capabilities()
    assert known.executor == "kubernetes"
    link = await backend.launch(Room())
    await link.kill()
    await backend.close()
    query = {"labelSelector": this_instance().selector}
    for kind in ("/apis/batch/v1/namespaces/{}/jobs", "/api/v1/namespaces/{}/pods"):
        assert (await api.get(kind.format(SITE.namespace), query))["items"] == []


@pytest.mark.k8s
async def test_a_namespace_without_policies_is_refused() -> None:
    backend = KubernetesBackend(replace(SITE, namespace="default"))
    with pytest.raises(IsolationError):
        await backend.capabilities()
    await backend.close()


def test_without_the_option_nothing_is_claimed(request: pytest.FixtureRequest) -> None:
    assert not needs_cluster(request.node)
    marked = [item for item in request.session.items if item.get_closest_marker("k8s")]
    assert bool(marked) is bool(request.config.getoption("--k8s"))
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "The kubernetes executor is not proven by the default test run" in text
    assert "--k8s" in text
    guide = (ROOT / "docs" / "howto" / "kubernetes.md").read_text(encoding="utf-8")
    assert "not proven by the default test run" in " ".join(guide.split())
