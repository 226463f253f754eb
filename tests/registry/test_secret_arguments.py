"""Arguments that secrets fill: read from the configuration, taken out of schemas, kept."""

from typing import Any
from uuid import uuid4

import pytest

from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, USER_SCOPES, Principal, Scope
from app.registry import (
    Address,
    Offer,
    Registry,
    SecretArgument,
    Setup,
    ToolDefinition,
    config_of,
    without,
)
from app.registry.config import parse_config
from tests.registry.servers.documents import simple

pytestmark = pytest.mark.anyio

KEY = SecretArgument("run", "key", "KEY")
SCHEMA = {
    "type": "object",
    "properties": {"key": {"type": "string"}, "q": {"type": "string", "enum": ["key"]}},
    "required": ["key", "q"],
}
ALICE = Principal("user", uuid4(), scopes=USER_SCOPES)
OPERATOR = Principal("user", uuid4(), scopes=frozenset({Scope.ADMIN}))


def server(**entry: Any) -> Any:
    entry = {"url": "https://api.example/mcp", **entry}
    return parse_config({"mcp_servers": {"api": entry}}, {}).servers[0]


def test_they_are_read_in_both_forms() -> None:
    long = {"name": "OTHER", "scope": "project", "required": False}
    found = server(secret_arguments={"run": {"key": "KEY", "other": long}, "stop": {"key": "KEY"}})
    assert found.secret_arguments == (
        KEY,
        SecretArgument("run", "other", "OTHER", "project", is_required=False),
        SecretArgument("stop", "key", "KEY"),
    )
    assert server().secret_arguments == ()


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ([], "secret_arguments"),
        ({"run": "KEY"}, "secret_arguments.run"),
        ({"r n": {"key": "KEY"}}, "secret_arguments.r n"),
        ({"run": {"key": "9 lives"}}, "secret_arguments.run.key"),
        ({"run": {"": "KEY"}}, "secret_arguments.run."),
        ({"run": {"key": {"value": "plain text"}}}, "secret_arguments.run.key.value"),
        ({"run": {"key": {"name": "KEY", "scope": "all"}}}, "secret_arguments.run.key.scope"),
        ({"run": {"key": {"name": "KEY", "scope": "developer"}}}, "secret_arguments"),
        ({"run": {f"a{number}": "KEY" for number in range(101)}}, "secret_arguments"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(raw: Any, where: str) -> None:
    with pytest.raises(AppError) as caught:
        server(secret_arguments=raw)
    assert caught.value.code is Code.CONFIG_INVALID
    assert caught.value.details["key"] == f"mcp_servers.api.{where}"


def test_a_process_has_its_environment_for_that() -> None:
    with pytest.raises(AppError) as caught:
        server(url=None, command="true", secret_arguments={"run": {"key": "KEY"}})
    assert "'env'" in caught.value.message


def test_the_schema_without_them_says_nothing_of_them() -> None:
    left, problem = without(SCHEMA, [KEY])
    assert problem is None
    assert left == {
        "type": "object",
        "properties": {"q": {"type": "string", "enum": ["key"]}},
        "required": ["q"],
    }
    assert "key" in SCHEMA["properties"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"properties": {}}, "has no argument 'key'"),
        ({"properties": True}, "takes no arguments"),
        ({"properties": {"key": True}}, "no schema"),
        ({"properties": {"key": {"type": "integer"}}}, "no string"),
        ({"properties": {"key": {"type": "string", "x-mcp-header": "Key"}}}, "header"),
        ({"dependentRequired": {"q": ["key"]}}, "dependentRequired"),
        ({"anyOf": [{"required": ["key"]}, {"required": ["q"]}]}, "anyOf"),
        ({"if": {"properties": {"key": {"const": "x"}}}}, "if speaks"),
        ({"if": {"required": ["q"]}, "else": {"required": ["key"]}}, "else speaks"),
    ],
)
def test_what_cannot_be_taken_out_is_said(change: dict[str, Any], why: str) -> None:
    _, problem = without(SCHEMA | change, [KEY])
    assert problem is not None
    assert why in problem


def test_a_definition_keeps_which_they_are_and_others_keep_their_hash() -> None:
    plain = ToolDefinition("api", "run", "Runs.", {"type": "object"})
    filled = ToolDefinition("api", "run", "Runs.", {"type": "object"}, filled=("key",))
    assert "secretArguments" not in plain.as_dict()
    assert plain.sha256 != filled.sha256
    assert ToolDefinition.from_dict("api", filled.as_dict()) == filled
    assert ToolDefinition.from_dict("api", plain.as_dict()) == plain


def test_an_address_keeps_them_and_older_rows_have_none() -> None:
    address = Address("https://api.example/mcp", secret_arguments=(KEY,))
    assert Address.from_dict(address.as_dict()) == address
    assert config_of("api", address, Offer()).secret_arguments == (KEY,)
    older = {name: value for name, value in address.as_dict().items() if "arguments" not in name}
    assert Address.from_dict(older).secret_arguments == ()


async def test_a_registered_server_has_them_from_its_setup(database: Database) -> None:
    registry, document = (
        Registry(),
        simple("https://lab.example.org/mcp", name="io.github.test/lab"),
    )
    setup = Setup(secret_arguments=(KEY,))
    async with database.begin(SERVICE) as uow:
        await registry.servers.create(uow, ALICE, "lab", document, offer=Offer(5), setup=setup)
        draft = await registry.servers.draft(uow, ALICE, "lab")
        plain = ToolDefinition("lab", "run", "Runs.", {"type": "object"})
        with pytest.raises(AppError) as caught:
            await registry.servers.submit(uow, ALICE, "lab", draft, [plain])
        assert caught.value.code is Code.INVALID_INPUT
        assert caught.value.details["pointer"] == "/secret_arguments/run/key"
        offered = ToolDefinition("lab", "run", "Runs.", {"type": "object"}, filled=("key",))
        await registry.servers.submit(uow, ALICE, "lab", draft, [offered])
        await registry.decisions.approve(uow, OPERATOR, "lab")
        await registry.refresh(uow)
    found = registry.snapshot().server("lab")
    assert found is not None
    assert found.secret_arguments == found.config().secret_arguments == (KEY,)
    assert registry.snapshot().resolve("lab.run").definition.filled == ("key",)
