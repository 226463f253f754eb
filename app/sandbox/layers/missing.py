"""What of a task's requirements the sandbox lacks, and the refusal where it cannot be added."""

from collections.abc import Mapping, Sequence

from app.sandbox.layers.refusals import masked, unknown
from app.sandbox.layers.requirements import Wanted, read_requirements
from app.sandbox.layers.sources import Sources
from app.sandbox.types import Capabilities


def missing(
    wanted: Sequence[Wanted], installed: Mapping[str, str], sources: Sources
) -> tuple[Wanted, ...]:
    """Those that `installed` does not meet and `sources` may have.

    Raises AppError(SANDBOX_REQUIREMENT_UNKNOWN) for another version of what is installed, and for
    anything at all where there are no sources.
    """
    found = tuple(one for one in wanted if not one.is_met(installed))
    for one in found:
        if one.name in installed:
            raise masked(one, installed[one.name])
    if found and not sources:
        raise unknown(found, installed, sources)
    return found


def check_installed(requirements: Sequence[str], capabilities: Capabilities) -> None:
    """Refuse all but what is installed, for an executor that takes no layers.

    Raises AppError: INVALID_INPUT, SANDBOX_REQUIREMENT_UNKNOWN.
    """
    wanted = read_requirements(requirements, capabilities.python)
    missing(wanted, capabilities.distributions, Sources())
