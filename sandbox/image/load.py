"""Gives the base to Docker and puts our programs on top, by the `docker` program."""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from sandbox.image.recipe import (
    CONTENT_LABEL,
    IMAGE_LABEL,
    INTERPRETER,
    PREPARE,
    base_key,
    base_name,
    image_key,
    image_name,
    tools,
)
from sandbox.image.root import BuildError

_EPOCH = 315_532_800  # 1980, the earliest that every archive format can hold


def has_image(name: str) -> bool:
    """Whether the engine has it. Raises BuildError if there is no engine."""
    return bool(docker(["image", "ls", "--quiet", "--no-trunc", name]).strip())


def import_base(root: Path) -> None:
    """Make the base from its folder; the same content gives the same layer. Raises BuildError."""
    archive = [
        "tar", "--create", "--sort=name", f"--mtime=@{_EPOCH}", "--numeric-owner",
        "--owner=0", "--group=0", "--directory", str(root), ".",
    ]  # fmt: skip
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        label = f'LABEL {IMAGE_LABEL}="{base_key()}"'
        docker(["import", "--change", label, "-", base_name()], tar.stdout)
    if tar.returncode:
        raise BuildError("tar could not read the root folder.")


def add_tools() -> None:
    """Make the image from the base. Raises BuildError."""
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            _add(tar, "Dockerfile", _recipe().encode())
            for path in (*tools(), PREPARE):
                _add(tar, f"tools/{path.name}", path.read_bytes())
        context.seek(0)
        options = ["--quiet", "--force-rm", "--network=none", "--tag", image_name()]
        docker(["build", *options, "-"], context)


def _recipe() -> str:
    base = base_name()
    layer = docker(["image", "inspect", "--format", "{{index .RootFS.Layers 0}}", base]).strip()
    return (
        f"FROM {base}\n"
        "COPY tools /opt/uaol\n"
        f'RUN ["{INTERPRETER}", "-I", "/opt/uaol/{PREPARE.name}"]\n'
        f'LABEL {IMAGE_LABEL}="{image_key()}" {CONTENT_LABEL}="{layer}"\n'
    )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), _EPOCH, 0o444
    tar.addfile(member, io.BytesIO(data))


def docker(arguments: list[str], source: IO[bytes] | int = subprocess.DEVNULL) -> str:
    """What the `docker` program says. Raises BuildError with its complaint."""
    program = shutil.which("docker")
    if program is None:
        raise BuildError("The `docker` program is missing: `apt-get install docker.io`.")
    done = subprocess.run(
        [program, *arguments], check=False, stdin=source, capture_output=True, text=True,
        # the engine's own builder needs no further program
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"docker {arguments[0]} failed: {done.stderr[-2000:]}")
    return done.stdout
