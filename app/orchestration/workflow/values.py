"""Values: JSON in which strings may hold expressions.

A string that is one expression, `"${{ steps.a.output.n }}"`, becomes the expression's value with
its JSON type. One with other text around is text: strings are put in as they are, everything else
as JSON. `$${{` is a literal `${{`. Keys of objects are always literal.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import orjson

from app.orchestration.workflow.expressions import (
    QUOTED,
    Budget,
    Expression,
    ExpressionError,
    compile_expression,
)

OPEN, CLOSE = "${{", "}}"
_MARKS = re.compile(rf"{QUOTED}|[{{}}'\"`]", re.DOTALL)

Evaluate = Callable[[Expression], Any]
Report = Callable[[tuple[int | str, ...], str], None]
"""Told of the place, relative to the value, and the reason of what does not compile."""


class Value(Protocol):
    """A compiled value."""

    def resolve(self, evaluate: Evaluate, budget: Budget) -> Any:
        """The JSON it stands for. Raises `ExpressionError`."""
        ...

    def expressions(self) -> Iterator[tuple[tuple[int | str, ...], Expression]]:
        """Each expression and its place, relative to the value."""
        ...


class Literal:
    """JSON without expressions."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, evaluate: Evaluate, budget: Budget) -> Any:
        """The value itself, which must not be changed."""
        return self.value

    def expressions(self) -> Iterator[tuple[tuple[int | str, ...], Expression]]:
        """None."""
        return iter(())


class Whole:
    """One expression, nothing around it."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def resolve(self, evaluate: Evaluate, budget: Budget) -> Any:
        """The expression's value."""
        return evaluate(self.expression)

    def expressions(self) -> Iterator[tuple[tuple[int | str, ...], Expression]]:
        """The one."""
        yield (), self.expression


class Text:
    """Text with expressions in it."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[str | Expression]) -> None:
        self.parts = parts

    def resolve(self, evaluate: Evaluate, budget: Budget) -> str:
        """The text."""
        return "".join(
            part if isinstance(part, str) else as_text(evaluate(part)) for part in self.parts
        )

    def expressions(self) -> Iterator[tuple[tuple[int | str, ...], Expression]]:
        """Those between the pieces of text."""
        for part in self.parts:
            if not isinstance(part, str):
                yield (), part


class Items:
    """An array or an object with expressions somewhere inside."""

    __slots__ = ("keys", "values")

    def __init__(self, keys: list[str] | None, values: list[Value]) -> None:
        self.keys = keys
        self.values = values

    def resolve(self, evaluate: Evaluate, budget: Budget) -> Any:
        """The array or object."""
        found = [value.resolve(evaluate, budget) for value in self.values]
        return found if self.keys is None else dict(zip(self.keys, found, strict=True))

    def expressions(self) -> Iterator[tuple[tuple[int | str, ...], Expression]]:
        """Those of every member."""
        names: list[Any] = list(range(len(self.values))) if self.keys is None else list(self.keys)
        for name, value in zip(names, self.values, strict=True):
            for place, expression in value.expressions():
                yield (name, *place), expression


def as_text(value: Any) -> str:
    """How a value stands in a text: a string as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def compile_value(raw: Any, report: Report, at: tuple[int | str, ...] = ()) -> Value:
    """Compile a JSON value; what does not compile is reported and taken literally."""
    if isinstance(raw, str):
        try:
            return _compile_text(raw)
        except ExpressionError as error:
            report(at, str(error))
            return Literal(raw)
    if isinstance(raw, Mapping):
        members = [compile_value(value, report, (*at, key)) for key, value in raw.items()]
        return _container(raw, list(raw), members)
    if isinstance(raw, list):
        members = [compile_value(value, report, (*at, i)) for i, value in enumerate(raw)]
        return _container(raw, None, members)
    return Literal(raw)


def _container(raw: Any, keys: list[str] | None, members: list[Value]) -> Value:
    if not all(isinstance(member, Literal) for member in members):
        return Items(keys, members)
    # An escaped `$${{` inside makes a literal that differs from what was written.
    values = [member.value for member in members if isinstance(member, Literal)]
    return Literal(values if keys is None else dict(zip(keys, values, strict=True)))


def _compile_text(raw: str) -> Value:
    if OPEN not in raw:
        return Literal(raw)
    parts = list(_parts(raw))
    if len(parts) == 1 and not isinstance(parts[0], str):
        return Whole(parts[0])
    if all(isinstance(part, str) for part in parts):
        return Literal("".join(str(part) for part in parts))
    return Text(parts)


def _parts(raw: str) -> Iterator[str | Expression]:
    start = 0
    while (found := raw.find(OPEN, start)) >= 0:
        if found > start and raw[found - 1] == "$":
            yield raw[start : found - 1] + OPEN
            start = found + len(OPEN)
            continue
        if found > start:
            yield raw[start:found]
        end = _end(raw, found + len(OPEN))
        yield compile_expression(raw[found + len(OPEN) : end])
        start = end + len(CLOSE)
    if start < len(raw):
        yield raw[start:]


def _end(raw: str, start: int) -> int:
    """Where the expression that begins at `start` ends: at `}}` outside quotes and braces."""
    depth = 0
    for mark in _MARKS.finditer(raw, start):
        if mark[0] == "{":
            depth += 1
        elif mark[0] == "}" and depth:
            depth -= 1
        elif mark[0] == "}" and raw.startswith(CLOSE, mark.start()):
            return mark.start()
        elif len(mark[0]) == 1:
            break
    raise ExpressionError(f"The expression {raw[start - 3 :][:60]!r} is not closed with '}}}}'.")
