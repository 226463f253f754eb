"""Removes images that were made for earlier versions, where nobody uses them.

Ours are those whose label says the same as their tag: a name that somebody else gave is theirs.
The engine itself refuses to remove what any container is made of. A server that has no container
at the moment may still start one, so the newest of the earlier images stay.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from sandbox.image.load import docker
from sandbox.image.recipe import IMAGE_LABEL, base_name, image_name
from sandbox.image.root import BuildError

_KEPT = 3


@dataclass(frozen=True)
class _Image:
    name: str
    created: str
    base: str


def remove_old() -> None:
    """Remove them, and the bases that no image is made from any more. Raises BuildError."""
    for image in _others(image_name())[_KEPT:]:
        _remove(image)
    left = {image.base for image in _images(image_name())}
    for base in _others(base_name()):
        if base.base not in left:
            _remove(base)


def _others(name: str) -> list[_Image]:
    """Ours but the one of that name, newest first."""
    found = [image for image in _images(name) if image.name != name]
    return sorted(found, key=lambda image: image.created, reverse=True)


def _images(name: str) -> Iterable[_Image]:
    """All of ours that differ from `name` in nothing but the tag."""
    listed = ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name.partition(":")[0]]
    names = [one for one in docker(listed).split() if not one.endswith(":<none>")]
    for one in names:
        told = json.loads(docker(["image", "inspect", one]))[0]
        labels = told["Config"]["Labels"] or {}
        if labels.get(IMAGE_LABEL) == one.partition(":")[2]:
            yield _Image(one, told["Created"], told["RootFS"]["Layers"][0])


def _remove(image: _Image) -> None:
    with suppress(BuildError):  # a container is made of it
        docker(["image", "rm", image.name])
