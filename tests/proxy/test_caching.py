"""The cache of answers: what it keeps, for whom, and how much."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.proxy.caching import Kept, ResultCache
from app.proxy.credentials import Injection
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


class _Sent:
    """Credentials of that owner, for every server."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner

    async def headers(self, principal: Principal, server: str) -> Injection:
        return Injection({"X-Key": "k"}, owner=self.owner)

    async def refused(self, *_: object) -> AppError | None:
        raise AssertionError("nothing is sent")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("owner", "is_shared"),
    [
        (None, True),
        ("developer:00000000-0000-7000-8000-000000000000", True),
        ("user:00000000-0000-7000-8000-000000000000", False),
        ("project:00000000-0000-7000-8000-000000000000", False),
    ],
)
async def test_an_answer_to_a_users_own_credentials_is_that_users(
    owner: str | None, *, is_shared: bool
) -> None:
    """Whatever the tool says: it may not know whose account it was asked with."""
    cache, sent = ResultCache(ManualClock()), _Sent(owner)
    public = tool({"uaol/cache_ttl": 60, "uaol/cache_scope": "public"})
    keys = {await cache.key_of(sent, user, public, {}) for user in (USER, OTHER)}
    assert (len(keys) == 1) is is_shared
    assert await cache.key_of(sent, USER, tool({}), {}) is None


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
    assert cache.bytes == 0
    cache.put(keys[0], HELD, Kept(b"x" * 2**21, None))
    assert cache.get(keys[0]) is None
