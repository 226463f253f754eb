"""Clusters are found as `kubectl` finds them; the token goes to the cluster and nowhere else."""

import sys
from pathlib import Path

import pytest
import yaml

from app.sandbox.executors.kubernetes import KubernetesBackend
from app.sandbox.executors.kubernetes.access import Access, load_access
from app.sandbox.types import IsolationError
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.conftest import SITE

TOKEN = "a-token-of-the-tests"


def config(folder: Path, server: str, user: dict[str, object]) -> Path:
    """A kubeconfig with one context, `lab`."""
    path = folder / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
            }
        ),
        encoding="utf-8",
    )
    return path


def load(path: Path, context: str | None = None) -> Access:
    return load_access(context, config_file=path)


def test_a_kubeconfig_is_read(tmp_path: Path) -> None:
    access = load(config(tmp_path, "https://127.0.0.1:6443/", {"token": TOKEN}))
    assert access.host == "https://127.0.0.1:6443"
    assert access.authorization() == f"Bearer {TOKEN}"
    assert access.tls is not None
    assert access.tls.check_hostname
    assert TOKEN not in repr(access)


def test_a_plugin_gives_the_token(tmp_path: Path) -> None:
    answer = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
        f' "status": {{"token": "{TOKEN}"}}}}'
    )
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
        "command": "/bin/echo", "args": [answer],
    }  # fmt: skip
    access = load(config(tmp_path, "http://127.0.0.1:1", {"exec": plugin}))
    assert access.authorization() == f"Bearer {TOKEN}"


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", "apiVersion: v1"])
def test_a_broken_kubeconfig_is_explained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IsolationError) as caught:
        load(path)
    assert "KUBECONFIG" in caught.value.hint


def test_an_unknown_context_is_explained(tmp_path: Path) -> None:
    path = config(tmp_path, "http://127.0.0.1:1", {})
    with pytest.raises(IsolationError, match="nowhere"):
        load(path, "nowhere")


def test_no_cluster_is_explained(tmp_path: Path) -> None:
    with pytest.raises(IsolationError) as caught:
        load(tmp_path / "absent")
    assert "KUBECONFIG" in caught.value.hint


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(IsolationError) as caught:
        load_access()
    assert "uaol[kubernetes]" in caught.value.hint


@pytest.mark.anyio
async def test_the_token_goes_with_every_call(cluster: Cluster, tmp_path: Path) -> None:
    path = config(tmp_path, cluster.url, {"token": TOKEN})
    backend = KubernetesBackend(SITE, lambda context: load(path, context))
    await backend.capabilities()
    await backend.close()
    assert set(cluster.authorizations) == {f"Bearer {TOKEN}"}
