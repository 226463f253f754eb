"""What changed between two sets of tool definitions, so that a person can judge it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson

_WIDTH = 400
_MOST = 500


class Change(NamedTuple):
    """One difference of a definition; `where` is a JSON pointer, values are JSON text or None."""

    where: str
    before: str | None
    after: str | None


class ToolDifference(NamedTuple):
    """What became of one tool; of one that came or went, `changes` are all that it says."""

    tool: str
    kind: Literal["added", "removed", "changed"]
    changes: tuple[Change, ...] = ()

    def lines(self) -> list[str]:
        """The difference as text, in the manner of a diff."""
        sign = {"added": "+", "removed": "-", "changed": "~"}[self.kind]
        shown = [f"{sign} {self.tool}"]
        for change in self.changes:
            shown.append(f"    {change.where or '/'}")
            shown += [f"      - {change.before}"] if change.before is not None else []
            shown += [f"      + {change.after}"] if change.after is not None else []
        return shown


def differences(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[ToolDifference]:
    """The tools that differ, by name; each definition in the form of `ToolDefinition.as_dict`."""
    old = {definition["name"]: definition for definition in before}
    new = {definition["name"]: definition for definition in after}
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found.append(ToolDifference(name, "added", _whole(new[name], is_new=True)))
        elif name not in new:
            found.append(ToolDifference(name, "removed", _whole(old[name], is_new=False)))
        elif changes := tuple(_limited(compare(old[name], new[name]))):
            found.append(ToolDifference(name, "changed", changes))
    return found


def _whole(definition: Mapping[str, Any], *, is_new: bool) -> tuple[Change, ...]:
    said = {key: value for key, value in definition.items() if key != "name" and value is not None}
    changes = compare({}, said) if is_new else compare(said, {})
    return tuple(_limited(changes))


def compare(before: Any, after: Any, where: str = "") -> Iterator[Change]:
    """The places at which two JSON values differ, objects member by member, lists item by item."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            place = f"{where}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from _member(before, after, key, place)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _items(before, after, where)
    elif type(before) is not type(after) or before != after:
        yield Change(where, _text(before), _text(after))


def _member(
    before: Mapping[str, Any], after: Mapping[str, Any], key: str, place: str
) -> Iterator[Change]:
    if key not in before:
        yield Change(place, None, _text(after[key]))
    elif key not in after:
        yield Change(place, _text(before[key]), None)
    else:
        yield from compare(before[key], after[key], place)


def _items(before: list[Any], after: list[Any], where: str) -> Iterator[Change]:
    for i in range(max(len(before), len(after))):
        place = f"{where}/{i}"
        if i >= len(before):
            yield Change(place, None, _text(after[i]))
        elif i >= len(after):
            yield Change(place, _text(before[i]), None)
        else:
            yield from compare(before[i], after[i], place)


def _limited(changes: Iterator[Change]) -> Iterator[Change]:
    for count, change in enumerate(changes):
        if count == _MOST:
            return
        yield change


def _text(value: Any) -> str:
    """A value as JSON; a long one is shortened in the middle, so that its end is seen too."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if len(text) <= _WIDTH:
        return text
    half = _WIDTH // 2
    return f"{text[:half]} ... {len(text) - 2 * half} more ... {text[-half:]}"
