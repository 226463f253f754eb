"""Published coefficients in this project's own layout; MANIFEST.json names paper and checksum."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def load(name: str) -> dict[str, Any]:
    """The coefficient file `name`.json as it stands. Do not change the result."""
    text = files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
