"""The abuse list as data: what each attack is, what must hold, and which wall it meets.

Numbers 1 to 31 are the list the sandbox was designed against, the rest came with its building. A
row with `code` is run as it is by `test_rows.py`; one without is a scenario, a test of its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.sandbox import Status, TaskResult
from tests.sandbox.abuse.host import Host
from tests.sandbox.abuse.matrix import STOPPED
from tests.sandbox.abuse.prelude import Said

Executor = Literal["docker", "bubblewrap", "kubernetes"]
Params = Callable[[Host], Mapping[str, Any]]
Check = Callable[[TaskResult, Said], None]


def nothing(host: Host) -> Mapping[str, Any]:
    """No parameters."""
    return {}


@dataclass(frozen=True)
class Control:
    """Shows that the attack works where the wall is not, or says why that is not shown.

    The same code runs in a plain process with `params`; the attempts that match a pattern of
    `done` must succeed. `user` is who that process has to be: root, nobody, or whoever runs the
    tests. `leaves` are files it must have left, with the text that a plain reader finds there.
    """

    done: tuple[str, ...] = ()
    params: Params = nothing
    user: Literal["", "root", "nobody"] = ""
    leaves: tuple[tuple[str, str], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One attack.

    `attack` is one line for the page; `walls` says what stops it, by executor. Attempts named in
    `allowed` may succeed, for the reason in `harmless`; every other one must fail. `declared` is
    the limit that, where an executor calls it best effort, leaves the attack open, and says so.
    `only` is the one column the row is about, where it is about one. `outcome` is what a scenario
    that passes has shown.
    """

    number: int
    name: str
    attack: str
    walls: Mapping[Executor, str]
    code: str = ""
    params: Params = nothing
    control: Control = field(default_factory=Control)
    limits: Mapping[str, float] = field(default_factory=dict)
    statuses: tuple[Status, ...] = ("ok",)
    allowed: tuple[str, ...] = ()
    harmless: str = ""
    declared: str = ""
    only: str = ""
    outcome: str = STOPPED
    check: Check | None = None


def everywhere(wall: str) -> dict[Executor, str]:
    """The same wall in every executor."""
    return {"docker": wall, "bubblewrap": wall, "kubernetes": wall}


def walls(docker: str, bubblewrap: str, kubernetes: str = "") -> dict[Executor, str]:
    """A wall of each; a pod is a container, so Docker's holds there unless told otherwise."""
    return {"docker": docker, "bubblewrap": bubblewrap, "kubernetes": kubernetes or docker}
