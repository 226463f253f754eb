"""JSON Schema checks (Draft 2020-12), compiled once per version of a definition.

References lead nowhere outside the schema, and patterns stop after so many steps, because a
schema is a stranger's text.
"""

from collections import OrderedDict
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
from app.registry import ToolDefinition

_KEPT = 2000
_SHOWN = 5
_WIDTH = 300
_PATTERNS = FancyRegexOptions(backtrack_limit=100_000)


class Schemas:
    """The compiled schemas of the tools in use, by version hash; the oldest used is dropped."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, tuple[Draft202012Validator, Draft202012Validator | None]]
        self._compiled = OrderedDict()

    def check_arguments(self, definition: ToolDefinition, arguments: Mapping[str, Any]) -> None:
        """Raise `invalid_input` or `unknown_field` with a JSON pointer to what does not fit."""
        validator, _ = self._get(definition)
        for name in definition.filled:
            if name in arguments:
                raise _not_the_callers(definition, name)
        try:
            if validator.is_valid(arguments):
                return
            errors = list(islice(validator.iter_errors(arguments), _SHOWN))
        except ValueError as error:
            raise AppError(
                Code.INVALID_INPUT,
                f"{definition.full_name}: the arguments cannot be checked: {str(error)[:_WIDTH]}",
                hint="Nest them less deeply.",
            ) from error
        raise _refusal(definition, errors)

    def explain_output(self, definition: ToolDefinition, structured: Any) -> str | None:
        """What is wrong with a structured answer, or None; a tool without a schema may say all."""
        _, validator = self._get(definition)
        if validator is None or validator.is_valid(structured):
            return None
        error = next(iter(validator.iter_errors(structured)))
        return f"{_place(error)}: {error.message[:_WIDTH]}"

    def _get(
        self, definition: ToolDefinition
    ) -> tuple[Draft202012Validator, Draft202012Validator | None]:
        key = definition.sha256
        if (known := self._compiled.get(key)) is None:
            known = self._compiled[key] = compile_schema(definition)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return known


def compile_schema(
    definition: ToolDefinition,
) -> tuple[Draft202012Validator, Draft202012Validator | None]:
    """The checks of arguments and answer. Raises `tool_protocol_error` for a broken schema."""
    try:
        output = definition.output_schema
        return _compile(definition.input_schema), None if output is None else _compile(output)
    except (ValidationError, ReferencingError, ValueError, TypeError) as error:
        raise AppError(
            Code.TOOL_PROTOCOL_ERROR,
            f"A schema of {definition.full_name} cannot be used: {str(error)[:_WIDTH]}",
            hint="The fault is the server's.",
        ) from error


def pointer(path: list[str | int]) -> str:
    """A JSON pointer (RFC 6901); the whole value is the empty string."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _compile(schema: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(
        dict(schema), pattern_options=_PATTERNS, offline=True, ignore_unknown_formats=True
    )


def _place(error: ValidationError) -> str:
    """The pointer to what does not fit; of an unknown field, to the field itself."""
    path = list(error.instance_path)
    if isinstance(error.kind, ValidationErrorKind.AdditionalProperties):
        path += error.kind.unexpected[:1]
    return pointer(path)


def _not_the_callers(definition: ToolDefinition, name: str) -> AppError:
    where = pointer([name])
    return AppError(
        Code.UNKNOWN_FIELD,
        f"{definition.full_name}: {where}: this argument is filled in by the platform.",
        hint="Leave it out; see the tool's input schema.",
        details={"tool": definition.full_name, "pointer": where},
    )


def _refusal(definition: ToolDefinition, errors: list[ValidationError]) -> AppError:
    shown = [{"pointer": _place(error), "message": error.message[:_WIDTH]} for error in errors]
    is_unknown = isinstance(errors[0].kind, ValidationErrorKind.AdditionalProperties)
    first = shown[0]
    return AppError(
        Code.UNKNOWN_FIELD if is_unknown else Code.INVALID_INPUT,
        f"{definition.full_name}: {first['pointer'] or 'the arguments'}: {first['message']}",
        hint="See the tool's input schema.",
        details={"tool": definition.full_name, "pointer": first["pointer"], "errors": shown},
    )
