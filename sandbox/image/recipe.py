"""What the image is made of, and the names that follow from it. Pure.

Two layers: the base, Debian and Python packages, takes minutes; the tools, our own programs that
run inside, take a second. Each is named by a hash over everything that it is made from.
"""

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path

SUITE = "bookworm"
PYTHON = "3.11"
# Docker leaves /etc/hosts empty where it makes no network: myhostname knows `localhost` without
PACKAGES = ("ca-certificates", "libgomp1", "libnss-myhostname", "python3")
INTERPRETER = f"/usr/bin/python{PYTHON}"
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
IMAGE_LABEL, CONTENT_LABEL = "uaol.sandbox.image", "uaol.sandbox.content"
_NAME = "uaol-sandbox"
_KEY_LENGTH = 16

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
FINISH, PREPARE = HERE / "finish.py", HERE / "prepare.py"
_BASE_STEPS = (HERE / "root.py", FINISH, REQUIREMENTS)


def tools() -> list[Path]:
    """Our programs that run inside, which the image holds in `/opt/uaol`."""
    return sorted(path for path in HERE.parent.glob("*.py") if path.name != "__init__.py")


@cache
def tools_key() -> str:
    """A hash over these programs: an image made for others does not fit this server."""
    return _hash(f"{path.name}\0{path.read_text(encoding='utf-8')}" for path in tools())


@cache
def base_key() -> str:
    """A hash over the inputs of the base."""
    steps = [path.read_text(encoding="utf-8") for path in _BASE_STEPS]
    return _hash([SUITE, PYTHON, *PACKAGES, platform.machine(), *steps])


@cache
def image_key() -> str:
    """A hash over all inputs of the image."""
    return _hash([base_key(), tools_key(), PREPARE.read_text(encoding="utf-8")])


def base_name() -> str:
    """The base's name in the engine."""
    return f"{_NAME}-base:{base_key()}"


def image_name() -> str:
    """The image's name in the engine."""
    return f"{_NAME}:{image_key()}"


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:_KEY_LENGTH]
