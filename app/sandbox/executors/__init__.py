"""The executors, one line each, in the order `auto` tries them."""

from collections.abc import Callable, Mapping, Sequence

from app.kernel.errors import AppError, Code
from app.sandbox.executors.bubblewrap import bubblewrap_executors
from app.sandbox.types import Executor

EXECUTORS: Mapping[str, Callable[[], Sequence[Executor]]] = {
    "bubblewrap": bubblewrap_executors,
}


def make_executors(choice: str = "auto") -> list[Executor]:
    """The executors `choice` stands for: all of them for `auto`, else those of that name.

    Raises AppError(CONFIG_INVALID) for a name that is not registered.
    """
    if choice != "auto" and choice not in EXECUTORS:
        raise AppError(
            Code.CONFIG_INVALID,
            f"There is no sandbox executor named {choice!r}.",
            hint=f"Set UAOL_SANDBOX_EXECUTOR to auto or one of: {', '.join(EXECUTORS)}.",
        )
    names = EXECUTORS if choice == "auto" else [choice]
    return [executor for name in names for executor in EXECUTORS[name]()]
