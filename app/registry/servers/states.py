"""The states of a server and of its versions, and who may move them, as data."""

from collections.abc import Mapping
from typing import Literal, get_args

from app.kernel.errors import AppError, Code
from app.registry.servers.types import ServerStatus

Actor = Literal["developer", "operator"]
STATUSES: tuple[str, ...] = get_args(ServerStatus)

# From a state to the states after it, with those who may do it.
TRANSITIONS: Mapping[ServerStatus, Mapping[ServerStatus, frozenset[Actor]]] = {
    "Draft": {"Pending": frozenset({"developer", "operator"})},
    "Pending": {
        # A developer takes it back, or an operator returns it with a reason.
        "Draft": frozenset({"developer", "operator"}),
        "Approved": frozenset({"operator"}),
        "Disabled": frozenset({"operator"}),
    },
    "Approved": {"Disabled": frozenset({"operator"})},
    "Disabled": {"Approved": frozenset({"operator"})},
}


def require_move(
    before: ServerStatus, after: ServerStatus, actor: Actor, *, what: str
) -> ServerStatus:
    """The state `after`, or `conflict` if there is no such move, or `forbidden` for this actor."""
    onward = TRANSITIONS[before]
    if after not in onward:
        raise AppError(
            Code.CONFLICT,
            f"{what} is {before} and cannot become {after}.",
            hint=_hint(before),
            details={"status": before, "onward": sorted(onward)},
        )
    if actor not in onward[after]:
        raise AppError(
            Code.FORBIDDEN,
            f"Only an operator moves {what} from {before} to {after}.",
            hint="Ask an operator (scope 'admin').",
            details={"status": before},
        )
    return after


def _hint(status: ServerStatus) -> str:
    match status:
        case "Draft":
            return "Submit it first."
        case "Pending":
            return "It waits for an operator's decision; withdraw it to go on editing."
        case "Approved":
            return "To change it, edit the server, which begins a new version, and submit that."
        case "Disabled":
            return "An operator can approve it again."
