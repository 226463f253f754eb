"""Tool jobs as requests give them; in a batch each is read for itself, so that one mistake
refuses one job.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, WithJsonSchema, model_validator
from pydantic import ValidationError as SchemaError

from app.kernel.errors import AppError
from app.surfaces.payloads import IdempotencyKey, Payload, check_json, misfit
from app.surfaces.terms import LimitKey, Priority, RunAt, Webhook

MAX_JOBS = 1000
Name = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class ToolJob:
    """A job that is one call of a tool."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    tool: Annotated[Name, Field(description="A tool's full name.")]
    arguments: Annotated[
        dict[str, Any], Field(description="As the tool's input schema wants them.")
    ] = field(default_factory=dict)
    idempotency_key: Annotated[
        IdempotencyKey | None, Field(description="A repeated job with it is not run again.")
    ] = None
    priority: Priority = 0
    run_at: RunAt = None
    limit_key: LimitKey = None
    webhook: Webhook = None


_JOBS = TypeAdapter(list[ToolJob])
_SCHEMA = {
    "type": "array",
    "maxItems": MAX_JOBS,
    "items": TypeAdapter(ToolJob).json_schema(),
}


class Batch(Payload):
    """Up to 1,000 tool jobs. They are held, priced and queued each for itself."""

    jobs: Annotated[list[Any], Field(max_length=MAX_JOBS), WithJsonSchema(_SCHEMA)]

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, raw: Any) -> Any:
        # The jobs themselves are looked at one by one, in `read`.
        is_object = isinstance(raw, dict)
        check_json({k: None if k == "jobs" else v for k, v in raw.items()} if is_object else raw)
        return raw

    def read(self) -> list[ToolJob | AppError]:
        """The jobs in order; in place of one that cannot be read, the reason."""
        return read_jobs(self.jobs)


def read_jobs(raws: Sequence[object]) -> list[ToolJob | AppError]:
    """Each raw job as a `ToolJob`, or why it is none; pointers start at the job."""
    faults: dict[int, AppError] = {}
    for place, raw in enumerate(raws):
        try:
            check_json(raw)
        except AppError as error:
            faults[place] = error
    places = [place for place in range(len(raws)) if place not in faults]
    try:
        good = _JOBS.validate_python([raws[place] for place in places])
    except SchemaError as error:
        faults |= {places[at]: why for at, why in _by_place(error).items()}
        good = _JOBS.validate_python([raws[at] for at in places if at not in faults])
    jobs = iter(good)
    return [faults[place] if place in faults else next(jobs) for place in range(len(raws))]


def _by_place(error: SchemaError) -> dict[int, AppError]:
    """The complaints about a list as one error for each item concerned."""
    found: dict[int, list[dict[str, Any]]] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        place, *inside = one["loc"]
        found.setdefault(int(place), []).append({**one, "loc": ("body", *inside)})
    return {place: misfit(errors) for place, errors in found.items()}
