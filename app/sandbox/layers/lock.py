"""A resolved set of wheels, each pinned by its hash; what a layer is made of and named after."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from app.sandbox.layers.target import Target

# Part of every id: a change in how layers are made must not meet layers made before.
_FORMAT = 1


@dataclass(frozen=True)
class Wheel:
    """One file; `location` is a path in the wheelhouse or a URL of the index."""

    name: str
    version: str
    filename: str
    sha256: str
    location: str

    @property
    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return self.location.startswith("/")


@dataclass(frozen=True)
class Lock:
    """The wheels of a layer, sorted by name."""

    target: Target
    wheels: tuple[Wheel, ...]

    @property
    def id(self) -> str:
        """The layer's name: the same wheels for the same Python have the same, wherever from."""
        wheels = [[one.name, one.version, one.filename, one.sha256] for one in self.wheels]
        facts = [_FORMAT, self.target.python, self.target.machine, sorted(wheels)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def as_json(self) -> str:
        """For the shelf."""
        return json.dumps(
            {"target": asdict(self.target), "wheels": [asdict(w) for w in self.wheels]}
        )

    @classmethod
    def of(cls, text: str) -> Self:
        """What `as_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        data: Mapping[str, list[dict[str, str]]] = json.loads(text)
        target = Target(**data["target"])  # type: ignore[arg-type]
        return cls(target, tuple(Wheel(**one) for one in data["wheels"]))
