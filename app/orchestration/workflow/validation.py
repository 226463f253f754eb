"""From JSON to a plan: size, shape, graph, expressions, and the names of tools and templates."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import ValidationError

from app.kernel.errors import AppError, Code
from app.orchestration.workflow import limits
from app.orchestration.workflow.building import build
from app.orchestration.workflow.definition import TAGS, Definition
from app.orchestration.workflow.doubles import doubled, parse
from app.orchestration.workflow.mistakes import Mistake, pointer_of, refusal
from app.orchestration.workflow.plan import Plan

Resolve = Callable[[str], object]
"""Finds a tool or a template by name, or raises the `AppError` that says why not."""

_CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field"}
_WORDS = {"unknown_field": "there is no such field here", "missing_field": "this is missing"}


def read(body: bytes | str) -> Any:
    """The JSON of a definition as it was sent. A name that stands twice is refused.

    Raises `payload_too_large` or `invalid_input`.
    """
    _check_size(len(body))
    try:
        raw, found = parse(body)
    except (ValueError, RecursionError) as error:
        words = f"this is no JSON: {str(error)[:200]}"
        raise refusal([Mistake("", "invalid_value", words)]) from error
    if found:
        raise doubled(found)
    return raw


def check(raw: Any, *, tool: Resolve, template: Resolve) -> Plan:
    """The plan of a definition that is about to be submitted.

    Raises `payload_too_large`, or `unknown_field` or `invalid_input` with every mistake in
    `details.errors`: those of the shape, or else those of the graph, the expressions and names.
    """
    plan, mistakes = _parse(_encode(raw))
    mistakes = [*mistakes, *_unresolved(plan, tool, template)]
    if mistakes:
        raise refusal(mistakes)
    return plan


class Plans:
    """Plans of definitions that were checked when submitted, the last used of them kept.

    `room` is how many bytes of definitions have their plans kept. `also` may refuse a plan.
    """

    def __init__(
        self, room: int = 8 * 2**20, *, also: Callable[[Plan], None] | None = None
    ) -> None:
        self._room = room
        self._also = also
        self._kept: OrderedDict[bytes, tuple[Plan, int]] = OrderedDict()

    def get(self, raw: Mapping[str, Any]) -> Plan:
        """The plan. Raises as `check` does, but asks for no tool or template."""
        body = _encode(raw)
        key = blake2b(body, digest_size=16).digest()
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known[0]
        plan, mistakes = _parse(body)
        if mistakes:
            raise refusal(mistakes)
        if self._also is not None:
            self._also(plan)
        self._keep(key, plan, len(body))
        return plan

    def _keep(self, key: bytes, plan: Plan, size: int) -> None:
        self._kept[key] = plan, size
        self._room -= size
        while self._room < 0:
            _, (_, freed) = self._kept.popitem(last=False)
            self._room += freed


def _encode(raw: Any) -> bytes:
    try:
        body = orjson.dumps(raw)
    except (TypeError, ValueError) as error:
        words = f"this is no JSON: {str(error)[:200]}"
        raise refusal([Mistake("", "invalid_value", words)]) from error
    _check_size(len(body))
    return body


def _check_size(size: int) -> None:
    if size > limits.DEFINITION_BYTES:
        raise AppError(
            Code.PAYLOAD_TOO_LARGE,
            f"The workflow has {size} bytes, more than {limits.DEFINITION_BYTES}.",
            hint="Put large data into files and give their ids.",
        )


def _parse(body: bytes) -> tuple[Plan, list[Mistake]]:
    raw = orjson.loads(body)
    if found := list(_unfit(raw)):
        raise refusal(found)
    try:
        definition = Definition.model_validate(raw)
    except ValidationError as error:
        raise refusal(_shape(error)) from error
    return build(definition)


def _unfit(raw: Any) -> Iterator[Mistake]:
    """What no part of a definition may have: deep nesting, and text that cannot be stored."""
    stack: list[tuple[Any, tuple[int | str, ...]]] = [(raw, ())]
    while stack:
        value, at = stack.pop()
        if len(at) > limits.JSON_DEPTH:
            words = f"it nests at most {limits.JSON_DEPTH} deep."
            yield Mistake(pointer_of(*at[:3]), "too_deep", words)
            return
        if isinstance(value, dict):
            if any("\0" in key for key in value):
                yield Mistake(pointer_of(*at), "invalid_value", "a name has a null character.")
            stack.extend((member, (*at, key)) for key, member in value.items())
        elif isinstance(value, list):
            stack.extend((member, (*at, index)) for index, member in enumerate(value))
        elif isinstance(value, str) and "\0" in value:
            yield Mistake(pointer_of(*at), "invalid_value", "text has no null characters.")


def _shape(error: ValidationError) -> Iterator[Mistake]:
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        parts = list(_place(found["loc"]))
        is_name = found["loc"][-1:] == ("[key]",)
        code = "bad_name" if is_name else _CODES.get(found["type"], "invalid_value")
        words = _WORDS.get(code, found["msg"]).rstrip(".")
        yield Mistake(pointer_of(*parts), code, f"{words}.")


def _place(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """The place in the JSON: pydantic's own words, the kind of a node and `[key]`, are left out."""
    is_name = False
    for part in location:
        if is_name or (part not in TAGS and part != "[key]"):
            yield part
        is_name = part == "nodes" and not is_name


def _unresolved(plan: Plan, tool: Resolve, template: Resolve) -> Iterator[Mistake]:
    for node in plan.walk():
        if node.target is None:
            continue
        resolve, place = (tool, "/tool") if node.kind == "tool" else (template, "/agent/template")
        try:
            resolve(node.target)
        except AppError as error:
            words = f"{error.message} {error.hint or ''}".strip()
            yield Mistake(node.pointer + place, error.code.value, words)
