"""Secrets for arguments: of one tool each, for one origin, put where they were declared."""

import orjson
import pytest

from app.kernel.errors import AppError, Code
from app.proxy.carrying import fill_message, fill_params
from app.proxy.credentials import NO_INJECTION, Injection, RemoteServer
from app.registry import SecretArgument
from tests.proxy.credentials.test_credentials import URL, Callers, callers
from tests.vault.conftest import vaults

__all__ = ["callers", "vaults"]
pytestmark = pytest.mark.anyio

CANARY = "canary-0123456789"
TOKEN = SecretArgument("run", "key", "TOKEN")


def serve(callers: Callers, *arguments: SecretArgument, url: str = URL) -> None:
    callers.upstreams["api"] = RemoteServer("api", url, arguments=arguments)


async def injection(callers: Callers) -> Injection:
    return await callers.credentials.headers(callers.vaults.alice, "api")


async def test_it_is_for_its_tool_alone_and_no_header(callers: Callers) -> None:
    serve(callers, TOKEN)
    await callers.set(CANARY)
    found = await injection(callers)
    assert dict(found) == {}
    assert found
    assert found.of("run") == {"key": CANARY}
    assert found.of("stop") == found.of("") == {}
    assert found.scrubber.text(f"said {CANARY}") == "said ***"
    assert found.owner == f"user:{callers.vaults.alice.owner}"
    assert CANARY not in repr(found)
    assert not NO_INJECTION


async def test_one_that_is_missing_refuses_its_tool_until_it_is_set(callers: Callers) -> None:
    serve(callers, TOKEN, SecretArgument("stop", "key", "OTHER", is_required=False))
    found = await injection(callers)
    with pytest.raises(AppError) as caught:
        found.of("run")
    assert caught.value.code is Code.SECRET_MISSING
    assert caught.value.details == {
        "server": "api",
        "secret": "TOKEN",
        "scope": "user",
        "tool": "run",
        "argument": "key",
        "origin": "https://api.example",
    }
    assert found.of("stop") == {}
    await callers.set(CANARY)
    assert (await injection(callers)).of("run") == {"key": CANARY}


async def test_it_goes_to_no_other_origin(callers: Callers) -> None:
    serve(callers, TOKEN)
    await callers.set(CANARY)
    assert (await injection(callers)).of("run")
    serve(callers, TOKEN, url="https://thief.example/mcp")
    with pytest.raises(AppError) as caught:
        (await injection(callers)).of("run")
    assert CANARY not in str(caught.value.as_dict())


async def test_a_server_that_turns_it_down_is_told_of_by_its_name(callers: Callers) -> None:
    serve(callers, TOKEN)
    await callers.set(CANARY)
    alice = callers.vaults.alice
    fault = await callers.credentials.refused(alice, "api", 401, None, await injection(callers))
    assert fault is not None
    assert fault.code is Code.SECRET_REFUSED
    assert fault.details["secrets"] == ["TOKEN"]


def test_all_else_of_a_call_stays_as_it_was_written() -> None:
    params = b'{"name":"run","arguments":{"n":1.50,"big":123456789012345678901234567890},"x": [1 ]}'
    assert fill_params(params, {}) is params
    found = fill_params(params, {"key": 'a"b'})
    assert b'"n":1.50' in found
    assert b'"big":123456789012345678901234567890' in found
    assert b'"x":[1 ]' in found
    assert b'"key":"a\\"b"' in found
    message = b'{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":%b}' % params
    assert fill_message(message, {}) is message
    filled = fill_message(message, {"key": "v"})
    assert b'"id":9007199254740993' in filled
    assert orjson.loads(fill_params(b'{"name":"run"}', {"key": "v"}))["arguments"] == {"key": "v"}


def test_a_second_spelling_of_the_name_does_not_win() -> None:
    params = b'{"name":"run","arguments":{"k\\u0065y":"mine","key":"also mine"}}'
    found = fill_params(params, {"key": "v"})
    assert found.count(b"key") == 1
    assert orjson.loads(found)["arguments"] == {"key": "v"}
