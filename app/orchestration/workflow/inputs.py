"""JSON Schemas that users write: of a workflow's input and of an approval's form.

References lead nowhere outside the schema, and patterns stop after so many steps.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from jsonschema_rs import (
    Draft202012Validator,
    FancyRegexOptions,
    ReferencingError,
    ValidationError,
    ValidationErrorKind,
)

from app.kernel.errors import AppError, Code
from app.orchestration.workflow.mistakes import Mistake, pointer_of
from app.orchestration.workflow.plan import Plan

_PATTERNS = FancyRegexOptions(backtrack_limit=100_000)
_SHOWN = 20
_WIDTH = 300


class SchemaError(Exception):
    """A JSON Schema that cannot be used."""


def compile_schema(schema: Mapping[str, Any]) -> Draft202012Validator:
    """The schema's check (Draft 2020-12). Raises `SchemaError` with the reason."""
    try:
        return Draft202012Validator(
            dict(schema), pattern_options=_PATTERNS, offline=True, ignore_unknown_formats=True
        )
    except (ValidationError, ReferencingError, ValueError, TypeError) as error:
        raise SchemaError(str(error).splitlines()[0][:_WIDTH]) from error


def check_input(plan: Plan, value: Any) -> None:
    """Raise `invalid_input` or `unknown_field` if this is no input of the workflow."""
    if plan.input_check is not None:
        _check(plan.input_check, value, "The workflow's input", "See its input_schema.")


def check_answer(form: Mapping[str, Any], answer: Any) -> None:
    """Raise `invalid_input` or `unknown_field` if an approval's answer does not fit its form."""
    _check(compile_schema(form), answer, "The answer", "See the form of the approval.")


def _check(check: Draft202012Validator, value: Any, what: str, hint: str) -> None:
    try:
        if check.is_valid(value):
            return
        found = [_mistake(error) for error in islice(check.iter_errors(value), _SHOWN)]
    except ValueError as error:
        raise AppError(
            Code.INVALID_INPUT, f"{what} cannot be checked: {str(error)[:_WIDTH]}", hint=hint
        ) from error
    first = found[0]
    raise AppError(
        Code.UNKNOWN_FIELD if first.code == "unknown_field" else Code.INVALID_INPUT,
        f"{what}: {first.pointer}: {first.message}"
        if first.pointer
        else f"{what}: {first.message}",
        hint=hint,
        details={"pointer": first.pointer, "errors": [each.as_dict() for each in found]},
    )


def _mistake(error: ValidationError) -> Mistake:
    path = list(error.instance_path)
    is_unknown = isinstance(error.kind, ValidationErrorKind.AdditionalProperties)
    if isinstance(error.kind, ValidationErrorKind.AdditionalProperties):
        path += error.kind.unexpected[:1]
    code = "unknown_field" if is_unknown else "invalid_value"
    return Mistake(pointer_of(*path), code, error.message[:_WIDTH])
