"""A task template: a priced task with a typed input, and one function per role."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from app.agents.types import JSON, ComputeStep, EvaluateStep, PlanStep, ReportStep, RetrieveStep
from app.billing import UsageRate
from app.kernel.errors import AppError, Code


@dataclass(frozen=True)
class TaskTemplate:
    """Drives the five roles without a model. `price_micro` is charged if the evaluator agrees.

    With `usage_rates` a run may be charged for what it uses instead. `policies` are the coder's
    ways of working, one per attempt; the last one is repeated.
    """

    name: str
    title: str
    description: str
    version: int
    price_micro: int
    input_model: type[BaseModel]
    policies: tuple[str, ...]
    plan: PlanStep
    retrieve: RetrieveStep
    compute: ComputeStep
    evaluate: EvaluateStep
    report: ReportStep
    usage_rates: tuple[UsageRate, ...] = ()

    def validate(self, raw: Mapping[str, Any]) -> JSON:
        """The input with its defaults, as JSON.

        Raises `unknown_field` or `invalid_input`; `details` has a JSON pointer per mistake.
        """
        try:
            model = self.input_model.model_validate(dict(raw))
        except ValidationError as error:
            raise _refuse(self, error) from error
        return model.model_dump(mode="json")

    def input_schema(self) -> JSON:
        """JSON Schema of the input; a property with `format: file` takes a file id."""
        return self.input_model.model_json_schema()


def _refuse(template: TaskTemplate, error: ValidationError) -> AppError:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [item for item in found if item["type"] == "extra_forbidden"]
    mistakes = [
        {"pointer": json_pointer(item["loc"]), "message": item["msg"].removeprefix("Value error, ")}
        for item in unknown or found
    ]
    first = mistakes[0]
    known = ", ".join(sorted(template.input_model.model_fields))
    if unknown:
        return AppError(
            Code.UNKNOWN_FIELD,
            f"The task '{template.name}' has no field {first['pointer']}.",
            hint=f"Its fields are: {known}.",
            details={"pointer": first["pointer"], "errors": mistakes},
        )
    return AppError(
        Code.INVALID_INPUT,
        f"Field {first['pointer'] or '/'}: {first['message']}.",
        hint="Compare the input with the schema that list_templates shows.",
        details={"pointer": first["pointer"], "errors": mistakes},
    )


def json_pointer(parts: Iterable[int | str]) -> str:
    """The JSON pointer (RFC 6901) of a path; the empty path is the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
