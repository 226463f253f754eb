"""The URIs of a job that a client may follow."""

from urllib.parse import urlsplit
from uuid import UUID

from app.surfaces.payloads import text_fault

_LONGEST = 1000
_WHOLE: tuple[list[str], ...] = (["trace"], ["steps"], ["report"], [])
_BASES = {("uaol", "jobs"): "", ("ui", "uaol"): "job/"}


def job_of(uri: str) -> UUID | None:
    """The job whose resource `uri` names; None for any other text."""
    if len(uri) > _LONGEST or text_fault(uri) is not None:
        return None
    try:
        split = urlsplit(uri)
        base, path = _BASES.get((split.scheme, split.netloc)), split.path.removeprefix("/")
        if base is None or split.query or not path.startswith(base):
            return None
        job_id, *rest = path.removeprefix(base).split("/")
        is_file = rest[:1] == ["files"] and len(rest) == 2 and not base
        is_known = rest == [] if base else rest in _WHOLE or is_file
        return UUID(job_id) if is_known else None
    except ValueError:
        return None


def is_growing(uri: str) -> bool:
    """Whether the resource changes while its job runs; the others come with its end."""
    return not uri.endswith("/report") and "/files/" not in uri
