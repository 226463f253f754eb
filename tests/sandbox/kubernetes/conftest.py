"""A pretended cluster for each test; its containers are real and behind bubblewrap."""

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.sandbox.executors.kubernetes import Site, link
from app.sandbox.executors.kubernetes.access import Access
from app.sandbox.executors.kubernetes.backend import KubernetesBackend
from sandbox.image.recipe import PREPARE, tools
from tests.conftest import cannot_run
from tests.sandbox.kubernetes.cluster import Cluster
from tests.sandbox.kubernetes.container import Image, run_once

SITE = Site(image="registry.example/uaol-sandbox:1", user_namespaces="off")


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The node's copy of the image: our programs, compiled as the image's builder does."""
    if not Path("/usr/bin/python3").exists():
        cannot_run("the pretended node's image is the system's: it needs /usr/bin/python3")
    folder = Path(tempfile.mkdtemp(prefix="uaol-node-"))
    folder.chmod(0o755)
    try:
        made = Image.at(folder)
        for path in [*tools(), PREPARE]:
            shutil.copy(path, made.tools / path.name)
        done = run_once(made, ["/usr/bin/python3", "-B", f"/opt/uaol/{PREPARE.name}"])
        if done.returncode:
            cannot_run(f"the pretended node cannot start containers: {done.stderr[-300:]}")
        yield made
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
        shutil.rmtree(folder)


@pytest.fixture
async def cluster(image: Image, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    # how it ended is always told here, if late
    monkeypatch.setattr(link, "_LAST_WORDS_SECONDS", 60)
    async with Cluster(image).serve() as running:
        yield running


@pytest.fixture
async def backend(cluster: Cluster) -> AsyncIterator[KubernetesBackend]:
    opened = KubernetesBackend(SITE, lambda _context: Access(cluster.url))
    yield opened
    await opened.close()
