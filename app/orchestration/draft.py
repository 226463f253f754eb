"""A batch of job requests on its way in: who is a repeat, refused, accepted. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.billing import Hold
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.orchestration.types import JobRequest, JobView, Submitted

Key = tuple[UUID, str]
# Of a workflow's definition: what the platform adds, and what may differ at a repeated request.
_AGREED = frozenset({"prices", "pins"})


def request_hash(request: JobRequest) -> bytes:
    """What an idempotency key stands for: SHA-256 of what the caller asked for.

    Its limits are left out: which ones hold is the platform's to change between two tries.
    """
    asked = {name: part for name, part in request.definition.items() if name not in _AGREED}
    body: dict[str, Any] = {"kind": request.kind, "definition": asked}
    if request.project_id is not None:
        body["project"] = request.project_id
    if request.run_at is not None:
        body["run_at"] = request.run_at
    if request.priority:
        body["priority"] = request.priority
    if request.webhook_id is not None:
        body["webhook"] = request.webhook_id
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


class Draft:
    """The requests of one batch by place; each ends as one result, in the order given."""

    def __init__(self, requests: Sequence[JobRequest]) -> None:
        self._requests = requests
        self._ids = [new_id() for _ in requests]
        self._digests = [
            request_hash(request) if request.idempotency_key else b"\0" * 32 for request in requests
        ]
        self._results: list[Submitted | AppError | None] = [None] * len(requests)
        self._first: dict[Key, int] = {}
        self._repeats: dict[int, int] = {}
        for place, request in enumerate(requests):
            if request.idempotency_key is not None:
                key = (request.user_id, request.idempotency_key)
                first = self._first.setdefault(key, place)
                if first != place:
                    self._repeats[place] = first

    def keys(self) -> list[tuple[UUID, str, UUID, bytes]]:
        """User, key, job and hash of every request that brings a key."""
        return [
            (user_id, key, self._ids[place], self._digests[place])
            for (user_id, key), place in self._first.items()
        ]

    def repeat(self, key: Key, job: JobView, digest: bytes) -> None:
        """A job of that key exists already."""
        self._results[self._first[key]] = self._match(self._first[key], job, digest)

    def holds(self) -> list[Hold]:
        """What the requests that are still open would cost."""
        return [
            Hold(self._ids[place], request.user_id, request.price.amount_micro)
            for place, request in self._open_requests()
        ]

    def refuse(self, refusals: Mapping[UUID, AppError]) -> list[UUID]:
        """Requests whose price their wallet does not cover; returns those that brought a key."""
        keyed = []
        for place, request in self._open_requests() if refusals else ():
            job_id = self._ids[place]
            if (error := refusals.get(job_id)) is not None:
                self._results[place] = error
                if request.idempotency_key is not None:
                    keyed.append(job_id)
        return keyed

    def rows(self) -> list[tuple[UUID, JobRequest]]:
        """The jobs to insert, by id."""
        return [(self._ids[place], request) for place, request in self._open_requests()]

    def accept(self, queued_at: datetime) -> None:
        """The jobs of `rows` were inserted."""
        for place, request in self._open_requests():
            job = _view(self._ids[place], request, queued_at)
            self._results[place] = Submitted(job, is_new=True)

    def results(self) -> list[Submitted | AppError]:
        """One result a request."""
        for place, first in self._repeats.items():
            self._results[place] = self._copy(place, first)
        lost = AppError(Code.CONFLICT, "A request with this key is being handled; try again.")
        return [result if result is not None else lost for result in self._results]

    def _copy(self, place: int, first: int) -> Submitted | AppError | None:
        original = self._results[first]
        if isinstance(original, Submitted):
            return self._match(place, original.job, self._digests[first])
        return original

    def _match(self, place: int, job: JobView, digest: bytes) -> Submitted | AppError:
        if self._digests[place] == digest:
            return Submitted(job, is_new=False)
        return AppError(
            Code.IDEMPOTENCY_MISMATCH,
            "This idempotency key was used with another request.",
            hint="Use a new key for a new request.",
            details={"job_id": str(job.job_id)},
        )

    def _open_requests(self) -> list[tuple[int, JobRequest]]:
        return [
            (place, self._requests[place])
            for place, result in enumerate(self._results)
            if result is None and place not in self._repeats
        ]


def _view(job_id: UUID, request: JobRequest, start: datetime) -> JobView:
    return JobView(
        job_id=job_id,
        user_id=request.user_id,
        project_id=request.project_id,
        kind=request.kind,
        status="Queued",
        definition=request.definition,
        price_micro=request.price.amount_micro,
        charged_micro=None,
        attempt=0,
        start_time=start,
        end_time=None,
        final_output=None,
        error=None,
    )
