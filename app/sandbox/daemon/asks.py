"""What a client may ask for, and nothing else: unknown fields are refused, not passed over."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.kernel.errors import AppError, Code
from app.sandbox.types import InputFile, Limits, TaskSpec

M = TypeVar("M", bound=BaseModel)
_Text = Annotated[str, Field(max_length=1000)]
_Size = Annotated[int, Field(ge=0)]
_Count = Annotated[int, Field(gt=0)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hello(_Asked):
    """The first frame."""

    version: int
    token: str | None
    operation: Literal["capabilities", "run", "stream", "cancel"]
    task_id: _Text = ""


class _Limits(_Asked):
    wall_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    cpu_s: _Count
    memory_bytes: _Count
    processes: _Count
    output_bytes: _Count
    stdout_bytes: _Count
    files: _Count
    tmp_bytes: _Count


class Task(_Asked):
    """A task; `files` are the names and sizes of its input files, whose bytes follow."""

    task_id: _Text
    code: str
    requirements: tuple[_Text, ...]
    limits: _Limits
    egress: _Text | None
    session_id: _Text | None
    owner: _Text
    files: Annotated[tuple[tuple[_Text, _Size], ...], Field(max_length=1000)]

    def spec(self, folder: Path, ceiling: Limits) -> TaskSpec:
        """The task for the sandbox: its input files are those of `folder`, by their number, and
        what it may use is at most `ceiling`, whatever the client would allow.
        """
        highest = asdict(ceiling)
        asked = self.limits.model_dump()
        return TaskSpec(
            task_id=self.task_id,
            code=self.code,
            requirements=self.requirements,
            input_files=tuple(
                InputFile(name, folder / str(number)) for number, (name, _) in enumerate(self.files)
            ),
            limits=Limits(**{name: min(asked[name], highest[name]) for name in highest}),
            egress=self.egress,
            session_id=self.session_id,
            owner=self.owner,
        )


def read_hello(value: Any) -> Hello:
    """The first frame. Raises AppError(INVALID_INPUT)."""
    return _read(Hello, value)


def read_task(value: Any) -> Task:
    """The task. Raises AppError(INVALID_INPUT)."""
    return _read(Task, value)


def _read(kind: type[M], value: Any) -> M:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AppError(
            Code.INVALID_INPUT,
            f"`{where}`: {first['msg']}.",
            hint="Client and daemon must be of the same version.",
        ) from error
