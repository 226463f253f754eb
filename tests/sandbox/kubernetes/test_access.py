"""Clusters are found as `kubectl` finds them; the token goes to the cluster and nowhere else."""

import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.sandbox import Options, PooledExecutor, PoolPlan, TaskSpec
from app.sandbox.executors.kubernetes.access import Access, load_access
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from app.sandbox.types import IsolationError
from tests.sandbox.conftest import SMALL
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.conftest import SITE
from tests.sandbox.kubernetes.container import Image

TOKEN = "a-token-of-the-tests"
COLD = Options(SMALL, PoolPlan(least=0, most=0))


def config(folder: Path, server: str, user: dict[str, object], **cluster: str) -> Path:
    """A kubeconfig with one context, `lab`."""
    path = folder / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
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


def certificates(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pretended")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("api.lab")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    place, key_place = folder / "cert.pem", folder / "key.pem"
    place.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_place.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return place, key_place


@pytest.mark.anyio
async def test_both_sides_prove_who_they_are(image: Image, tmp_path: Path) -> None:
    place, key = certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(place))
    tls.load_cert_chain(place, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    user: dict[str, object] = {"client-certificate": str(place), "client-key": str(key)}
    named = {"certificate-authority": str(place), "tls-server-name": "api.lab"}
    async with Cluster(image).serve(tls) as cluster:
        path = config(tmp_path, cluster.url, user, **named)
        executor = PooledExecutor(
            KubernetesBackend(SITE, lambda context: load(path, context)), COLD
        )
        result = await executor.run(TaskSpec("task", "print('safe')", limits=SMALL))
        assert result.stdout == "safe\n"
        await executor.close()
        for missing in ({}, {"certificate-authority": str(place)}):
            path = config(tmp_path, cluster.url, user, **missing)
            stranger = KubernetesBackend(SITE, lambda context: load(path, context))  # noqa: B023
            with pytest.raises(IsolationError, match="ertificate"):
                await stranger.capabilities()
            await stranger.close()


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({"https_proxy": "http://127.0.0.1:3128"}, "http://127.0.0.1:3128"),
        ({"https_proxy": "http://127.0.0.1:3128", "no_proxy": "api.lab"}, None),
        ({}, None),
    ],
)
def test_the_environments_proxy_is_used_but_for_exceptions(
    tmp_path: Path, variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load(config(tmp_path, "https://api.lab:6443", {})).proxy == proxy


def test_the_kubeconfigs_proxy_comes_first(tmp_path: Path) -> None:
    named = {"proxy-url": "http://127.0.0.1:8080"}
    assert load(config(tmp_path, "https://api.lab:6443", {}, **named)).proxy == named["proxy-url"]
