"""The cache of answers: what it keeps, for whom, and how much."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.kernel.principal import Principal
from app.proxy.caching import Kept, ResultCache
from app.registry import Tool, ToolDefinition
from app.registry.declared import Declared, declared
from tests.manual_clock import ManualClock


def tool(meta: Any, schema: Any = None, **changes: Any) -> Tool:
    definition = ToolDefinition(
        "far", "quote", "A quote.", schema or {"type": "object"}, more={"_meta": meta}
    )
    return replace(Tool("far.quote", "far", definition, "Approved", False, 0, 10.0), **changes)


HELD = tool({"uaol/cache_ttl": 60})
USER = Principal("user", uuid4())
OTHER = Principal("user", uuid4())


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (None, Declared()),
        ("x", Declared()),
        ({}, Declared()),
        ({"uaol/cache_ttl": 5}, Declared(5.0)),
        ({"uaol/cache_ttl": 0.5, "uaol/cache_scope": "public"}, Declared(0.5, is_public=True)),
        ({"uaol/cache_ttl": 10**9}, Declared(86_400.0)),
        ({"uaol/cache_ttl": -1}, Declared()),
        ({"uaol/cache_ttl": float("nan")}, Declared()),
        ({"uaol/cache_ttl": True}, Declared()),
        ({"uaol/cache_ttl": "60"}, Declared()),
        ({"uaol/cache_scope": "Public", "uaol/errors": "free"}, Declared()),
        ({"uaol/errors": "charged"}, Declared(is_error_charged=True)),
    ],
)
def test_what_a_tool_declares(meta: Any, said: Declared) -> None:
    assert declared(meta) == said


def test_keys_tell_users_arguments_and_definitions_apart() -> None:
    cache = ResultCache(ManualClock())
    public = tool({"uaol/cache_ttl": 60, "uaol/cache_scope": "public"})
    key = cache.key(USER, HELD, {"a": 1, "b": [2]})
    assert key == cache.key(USER, HELD, {"b": [2], "a": 1})
    others = [
        cache.key(OTHER, HELD, {"a": 1, "b": [2]}),
        cache.key(USER._replace(project_id=uuid4()), HELD, {"a": 1, "b": [2]}),
        cache.key(USER, HELD, {"a": 1, "b": [3]}),
        cache.key(USER, HELD, {"a": "1", "b": [2]}),
        cache.key(USER, public, {"a": 1, "b": [2]}),
    ]
    assert len({key, *others}) == 6, others
    assert cache.key(USER, public, {}) == cache.key(OTHER, public, {})


def test_tools_that_say_nothing_or_take_files_are_not_kept() -> None:
    cache = ResultCache(ManualClock())
    files = {"type": "object", "properties": {"f": {"type": "string", "format": "file"}}}
    assert cache.key(USER, tool({}), {}) is None
    assert cache.key(USER, tool({"uaol/cache_ttl": 60}, files), {}) is None
    cache.put(None, HELD, Kept(b"[]", None))
    assert cache.get(None) is None


def test_answers_run_out_and_make_room() -> None:
    clock = ManualClock()
    cache = ResultCache(clock, most_bytes=3 * (1000 + 400))
    keys = [cache.key(USER, HELD, {"n": n}) for n in range(4)]
    for key in keys[:3]:
        cache.put(key, HELD, Kept(b"x" * 1000, None))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], HELD, Kept(b"x" * 500, b"y" * 500))
    # The one that was used last stays, the one that was not goes.
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    cache.put(keys[0], HELD, Kept(b"z", None))
    assert cache.get(keys[0]) == Kept(b"z", None)
    clock.advance(61)
    assert [cache.get(key) for key in keys] == [None] * 4
    assert cache._bytes == 0
    cache.put(keys[0], HELD, Kept(b"x" * 2**21, None))
    assert cache.get(keys[0]) is None
