"""What a job is asked to do: run a template with its input, or call one tool with arguments."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from app.kernel.errors import AppError, Code
from app.surfaces.batches import Name
from app.surfaces.payloads import Payload


class Asked(Payload):
    """A template with its input, or one tool with its arguments.

    A file in a template's input is a `file_id` or `{text, name}`.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["template", "input"]}, {"required": ["tool"]}]}
    )
    template: Name | None = None
    input: dict[str, Any] | None = None
    tool: Annotated[Name | None, Field(description="A tool's full name.")] = None
    arguments: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.template is None) == (self.tool is None):
            raise _misfit("", "A job is a template with its input, or a tool with its arguments")
        if self.template is not None and self.input is None:
            raise _misfit("/input", "A template needs its input")
        if self.template is None and self.input is not None:
            raise _misfit("/input", "A tool takes `arguments`, not `input`")
        if self.tool is None and self.arguments is not None:
            raise _misfit("/arguments", "A template takes `input`, not `arguments`")
        return self


def _misfit(where: str, why: str) -> AppError:
    hint = "Give {template, input} or {tool, arguments}."
    return AppError(Code.INVALID_INPUT, f"{why}.", hint=hint, details={"pointer": where})
