import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.proxy import BuiltinTool, RawResult, ToolCall
from app.proxy.definitions import definitions_of
from app.proxy.files import FilePositions
from app.proxy.schemas import Schemas, compile_schema
from app.registry import ToolDefinition
from tests.proxy.harness import USER, World, python_server, running

pytestmark = pytest.mark.anyio

FILE = {"type": "string", "format": "file"}


@pytest.fixture(scope="module")
async def odd() -> AsyncIterator[World]:
    async with running(python_server("odd.py")) as world:
        yield world


def definition(schema: dict[str, Any], name: str = "run", **keys: Any) -> ToolDefinition:
    return ToolDefinition("own", name, "", schema, **keys)


def builtin(schema: dict[str, Any], handler: Any, **keys: Any) -> BuiltinTool:
    return BuiltinTool(definition(schema, **keys), handler)


async def test_arguments_are_checked_with_a_pointer_to_what_does_not_fit(odd: World) -> None:
    error = await odd.refused("odd.echo", text=5)
    assert (error.code, error.details["pointer"]) == (Code.INVALID_INPUT, "/text")
    error = await odd.refused("odd.echo", text="a", wrong=1)
    assert (error.code, error.details["pointer"]) == (Code.UNKNOWN_FIELD, "/wrong")
    error = await odd.refused("odd.echo")
    assert (error.code, error.details["pointer"]) == (Code.INVALID_INPUT, "")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(2000), 2**70, "\ud800", {1: 2}])
async def test_arguments_that_are_no_json_are_refused(odd: World, value: Any) -> None:
    assert (await odd.refused("odd.environment", value=value)).code is Code.INVALID_INPUT


async def test_arguments_past_the_size_limit_are_refused() -> None:
    async def handler(_: ToolCall, __: dict[str, Any]) -> RawResult:
        raise AssertionError("must not be reached")

    async with running(builtins=[builtin({}, handler)], request_limit=100) as world:
        assert (await world.refused("own.run", a="x" * 100)).code is Code.PAYLOAD_TOO_LARGE


async def test_an_unknown_tool_is_refused_with_similar_names(odd: World) -> None:
    error = await odd.refused("odd.ecko")
    assert error.code is Code.TOOL_UNKNOWN
    assert "odd.echo" in error.details["similar"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "Disabled"}, Code.TOOL_DISABLED),
        ({"status": "Pending"}, Code.TOOL_DISABLED),
        ({"status": "Pending", "has_changed": True}, Code.TOOL_DEFINITION_CHANGED),
    ],
)
async def test_only_approved_tools_are_called(
    odd: World, change: dict[str, Any], code: Code
) -> None:
    odd.show(**change)
    error = await odd.refused("odd.echo", text="x")
    odd.show()
    assert error.code is code


async def test_calls_are_limited_per_user_and_per_tool() -> None:
    async def handler(_: ToolCall, __: dict[str, Any]) -> RawResult:
        return RawResult({})

    tools = [builtin({}, handler), builtin({}, handler, name="walk")]
    async with running(builtins=tools, calls_per_minute=2, tool_calls_per_minute=3) as world:
        await world.call("own.run")
        await world.call("own.walk")
        error = await world.refused("own.run")
        assert error.code is Code.RATE_LIMITED
        assert error.details["retry_after_s"] > 0
        other = Principal("user", uuid4())
        for _ in range(2):
            await world.proxy.call(ToolCall(other, "own.run", {}))
        with pytest.raises(AppError) as caught:
            await world.proxy.call(ToolCall(Principal("user", uuid4()), "own.run", {}))
        assert caught.value.code is Code.RATE_LIMITED
        assert (await world.proxy.call(ToolCall(SERVICE, "own.walk", {}))).structured == {}


async def test_file_ids_become_paths_wherever_a_file_may_be(odd: World, tmp_path: Path) -> None:
    one, two = odd.add_file(USER, tmp_path / "1"), odd.add_file(USER, tmp_path / "2")
    arguments = {"file": one, "many": [two, one], "part": {"path": two, "note": one}}
    result = await odd.call("odd.files", **arguments)
    first, second = str(tmp_path / "1"), str(tmp_path / "2")
    assert result.structured == {
        "file": first,
        "many": [second, first],
        "part": {"path": second, "note": one},
    }
    assert arguments["file"] == one
    assert (await odd.call("odd.files", file=None)).structured == {"file": None}


@pytest.mark.parametrize(
    "value", ["/etc/passwd", "", "x" * 36, "{0b9f1d0e-5a53-4f5b-9d2e-2f6f6f0f4a11}"]
)
async def test_a_path_never_reaches_a_tool(odd: World, value: str) -> None:
    error = await odd.refused("odd.files", part={"path": value})
    assert (error.code, error.details["pointer"]) == (Code.INVALID_INPUT, "/part/path")


async def test_another_users_file_is_not_found(odd: World, tmp_path: Path) -> None:
    theirs = odd.add_file(Principal("user", uuid4()), tmp_path / "1")
    assert (await odd.refused("odd.files", many=[theirs])).code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("schema", "value", "places"),
    [
        ({"properties": {"a": FILE}}, {"a": "x"}, [("a",)]),
        ({"properties": {"a": FILE}}, {"a": 5, "b": "x"}, []),
        ({"additionalProperties": FILE}, {"a": "x"}, [("a",)]),
        ({"patternProperties": {"^f_": FILE}}, {"f_a": "x"}, [("f_a",)]),
        ({"properties": {"a": {"prefixItems": [{}, FILE]}}}, {"a": ["x", "y"]}, [("a", 1)]),
        ({"properties": {"a": {"contains": FILE}}}, {"a": ["x"]}, [("a", 0)]),
        ({"properties": {"a": {"oneOf": [{}, {"allOf": [FILE]}]}}}, {"a": "x"}, [("a",)]),
        ({"if": {}, "then": {"properties": {"a": FILE}}}, {"a": "x"}, [("a",)]),
        ({"dependentSchemas": {"b": {"properties": {"a": FILE}}}}, {"a": "x"}, [("a",)]),
        ({"$defs": {"a/b": FILE}, "items": {"$ref": "#/$defs/a~1b"}}, ["x"], [(0,)]),
        (
            {"properties": {"a": FILE, "next": {"$ref": "#"}}},
            {"next": {"next": {"a": "x"}}},
            [("next", "next", "a")],
        ),
        ({"$ref": "#", "properties": {"a": FILE}}, {"a": "x"}, [("a",)]),
    ],
)
def test_files_are_found_by_the_schema(schema: Any, value: Any, places: Any) -> None:
    assert FilePositions(definition(schema)).find(value) == places


def test_a_reference_that_cannot_be_followed_is_refused() -> None:
    schema = {"$defs": {"a": FILE | {"$anchor": "f"}}, "properties": {"a": {"$ref": "#f"}}}
    with pytest.raises(AppError) as caught:
        FilePositions(definition(schema)).find({"a": "x"})
    assert caught.value.code is Code.TOOL_PROTOCOL_ERROR


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"$ref": "http://example.com/schema.json"},
        {"$ref": "#/$defs/none"},
        {"pattern": "(("},
    ],
)
def test_a_broken_schema_is_the_servers_fault(schema: dict[str, Any]) -> None:
    with pytest.raises(AppError) as caught:
        compile_schema(definition(schema))
    assert caught.value.code is Code.TOOL_PROTOCOL_ERROR


def test_a_schema_is_compiled_once_per_version() -> None:
    schemas = Schemas()
    schemas.check_arguments(definition({"type": "object"}), {})
    schemas.check_arguments(definition({"type": "object"}), {})
    assert len(schemas._compiled) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "bad name"},
        {"name": "x" * 95},
        {"description": "a\0b"},
        {"description": "x" * 300_000},
        {"input_schema": {"$ref": "http://example.com/"}},
        {"input_schema": {"maximum": 2**70}},
    ],
)
def test_a_harmful_definition_is_left_out(changes: dict[str, Any]) -> None:
    import mcp_types

    good = mcp_types.Tool(name="good", input_schema={"type": "object"})
    bad = mcp_types.Tool(**({"name": "bad", "input_schema": {"type": "object"}} | changes))
    found = definitions_of(python_server("odd.py"), [bad, good, good])
    assert [item.name for item in found] == ["good"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (RawResult({"a": "x" * 200}), Code.TOOL_OUTPUT_TOO_LARGE),
        (RawResult({"a": 2**70}), Code.TOOL_PROTOCOL_ERROR),
        (RawResult({"a": "\ud800"}), Code.TOOL_PROTOCOL_ERROR),
    ],
)
async def test_answers_are_measured(raw: RawResult, code: Code) -> None:
    async def handler(_: ToolCall, __: dict[str, Any]) -> RawResult:
        return raw

    async with running(builtins=[builtin({}, handler)], tool_output_limit=100) as world:
        assert (await world.refused("own.run")).code is code


async def test_a_value_that_is_no_object_comes_as_a_result() -> None:
    async def handler(_: ToolCall, __: dict[str, Any]) -> RawResult:
        return RawResult([1, 2])

    schema = {"type": "array"}
    tool = BuiltinTool(definition({}, output_schema=schema), handler)
    async with running(builtins=[tool]) as world:
        assert (await world.call("own.run")).structured == {"result": [1, 2]}


async def test_a_builtin_has_a_time_limit_and_raises_its_own_errors() -> None:
    async def handler(_: ToolCall, arguments: dict[str, Any]) -> RawResult:
        if arguments:
            raise AppError(Code.SANDBOX_UNAVAILABLE, "No walls.")
        await asyncio.sleep(math.inf)
        return RawResult({})

    async with running(builtins=[builtin({}, handler)]) as world:
        assert (await world.refused("own.run", timeout_s=0.05)).code is Code.TOOL_TIMEOUT
        assert (await world.refused("own.run", a=1)).code is Code.SANDBOX_UNAVAILABLE
