"""The URIs below a job that a client may follow."""

from urllib.parse import urlsplit
from uuid import UUID

from app.surfaces.payloads import text_fault

_LONGEST = 1000
_WHOLE = frozenset({"trace", "steps", "report"})
_GROWING = ("/trace", "/steps")


def job_of(uri: str) -> UUID | None:
    """The job whose resource `uri` names; None for any other text."""
    if len(uri) > _LONGEST or text_fault(uri) is not None:
        return None
    try:
        split = urlsplit(uri)
        job_id, kind, *name = split.path.lstrip("/").split("/")
        is_known = (kind in _WHOLE and not name) or (kind == "files" and len(name) == 1)
        if (split.scheme, split.netloc, split.query) == ("uaol", "jobs", "") and is_known:
            return UUID(job_id)
    except ValueError:
        pass
    return None


def is_growing(uri: str) -> bool:
    """Whether the resource changes while its job runs; the others come with its end."""
    return uri.endswith(_GROWING)
