from dataclasses import replace
from uuid import uuid4

import pytest

from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal, Scope
from app.registry import PinReport, Prices, Registry, ServerConfig, Tool, ToolDefinition

pytestmark = pytest.mark.anyio

SERVER = ServerConfig(name="lab", command=("lab-server", "--token=x"), prices=Prices(10_000))
USER = Principal("user", uuid4())


def definition(name: str = "run", description: str = "Runs.") -> ToolDefinition:
    return ToolDefinition("lab", name, description, {"type": "object"})


async def pin(
    database: Database, registry: Registry, server: ServerConfig, *definitions: ToolDefinition
) -> PinReport:
    async with database.begin(SERVICE) as uow:
        report = await registry.pin(uow, server, definitions)
        await registry.refresh(uow)
    return report


def code_of(registry: Registry, name: str) -> Code | None:
    try:
        registry.snapshot().resolve(name)
    except AppError as error:
        return error.code
    return None


async def audited(database: Database) -> list[str]:
    async with database.begin(SERVICE) as uow:
        rows = await uow.execute("select action from app.audit_log order by entry_id")
        return [row.action for row in rows]


async def test_first_sight_of_a_configured_server_is_approved(database: Database) -> None:
    registry = Registry(default_timeout_s=7.5)
    report = await pin(database, registry, SERVER, definition("b"), definition("a"))
    assert report == PinReport(added=("lab.b", "lab.a"))
    tools = registry.snapshot().tools(USER)
    assert [tool.full_name for tool in tools] == ["lab.a", "lab.b"]
    assert (tools[0].price_micro, tools[0].timeout_s, tools[0].status) == (10_000, 7.5, "Approved")
    assert tools[0].definition == definition("a")


async def test_pinning_again_changes_nothing(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    assert await pin(database, registry, SERVER, definition()) == PinReport()
    async with database.begin(SERVICE) as uow:
        assert (await uow.execute("select count(*) from app.tool_versions")).scalar_one() == 1


async def test_a_changed_definition_waits_for_approval(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    report = await pin(database, registry, SERVER, definition(description="Sends your files."))
    assert report == PinReport(changed=("lab.run",))
    assert code_of(registry, "lab.run") is Code.TOOL_DEFINITION_CHANGED
    assert registry.snapshot().tools(USER) == []
    async with database.begin(SERVICE) as uow:
        await registry.approve(uow, "lab.run")
        await registry.refresh(uow)
    assert registry.snapshot().resolve("lab.run").definition.description == "Sends your files."
    assert await audited(database) == ["registry.tool_changed", "registry.tool_approved"]


async def test_a_definition_changed_back_is_approved_again(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    await pin(database, registry, SERVER, definition(description="Other."))
    await pin(database, registry, SERVER, definition())
    assert registry.snapshot().resolve("lab.run").definition.description == "Runs."


async def test_a_trusted_servers_change_is_accepted_and_audited(database: Database) -> None:
    registry, trusted = Registry(), replace(SERVER, is_trusted=True)
    await pin(database, registry, trusted, definition())
    await pin(database, registry, trusted, definition(description="Better."), definition("new"))
    assert registry.snapshot().resolve("lab.run").definition.description == "Better."
    assert code_of(registry, "lab.new") is None
    assert await audited(database) == ["registry.tool_changed"]


async def test_a_tool_added_later_waits_for_approval(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    await pin(database, registry, SERVER, definition(), definition("new"))
    assert code_of(registry, "lab.new") is Code.TOOL_DISABLED
    operator = Principal("user", uuid4(), scopes=frozenset({Scope.ADMIN}))
    names = [tool.full_name for tool in registry.snapshot().tools(operator)]
    assert names == ["lab.new", "lab.run"]


async def test_a_tool_no_longer_offered_is_unknown_until_it_is_back(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition(), definition("b"))
    assert (await pin(database, registry, SERVER, definition("b"))).removed == ("lab.run",)
    assert code_of(registry, "lab.run") is Code.TOOL_UNKNOWN
    await pin(database, registry, SERVER, definition(), definition("b"))
    assert code_of(registry, "lab.run") is None


async def test_servers_that_are_configured_no_more_are_retired(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    async with database.begin(SERVICE) as uow:
        assert await registry.retire(uow, ["other"]) == ("lab.run",)
        await registry.refresh(uow)
    assert code_of(registry, "lab.run") is Code.TOOL_UNKNOWN


async def test_what_was_switched_off_stays_off(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    async with database.begin(SERVICE) as uow:
        await registry.disable(uow, "lab.run")
    await pin(database, registry, SERVER, definition(description="Other."))
    assert code_of(registry, "lab.run") is Code.TOOL_DISABLED
    async with database.begin(SERVICE) as uow:
        with pytest.raises(AppError) as caught:
            await registry.disable(uow, "lab.none")
    assert caught.value.code is Code.TOOL_UNKNOWN


async def test_a_new_price_and_time_limit_are_taken_over(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition())
    dearer = replace(SERVER, prices=Prices(0, {"run": 30_000}), timeout_s=3.0)
    await pin(database, registry, dearer, definition())
    tool = registry.snapshot().resolve("lab.run")
    assert (tool.price_micro, tool.timeout_s) == (30_000, 3.0)


async def test_users_read_approved_tools_and_write_none(database: Database) -> None:
    registry = Registry()
    await pin(database, registry, SERVER, definition(), definition("b"))
    async with database.begin(SERVICE) as uow:
        await registry.disable(uow, "lab.b")
    async with database.begin(USER) as uow:
        rows = await uow.execute("select name, gateway_url from app.mcp_tools")
        assert [tuple(row) for row in rows] == [("lab.run", "stdio:lab-server")]
    for statement in ("delete from app.mcp_tools", "select * from app.tool_versions"):
        with pytest.raises(Exception, match="permission denied"):
            async with database.begin(USER) as uow:
                await uow.execute(statement)


async def test_a_refresh_counts_only_once_committed(database: Database) -> None:
    registry = Registry()

    async def pin_and_fail() -> None:
        async with database.begin(SERVICE) as uow:
            await registry.pin(uow, SERVER, [definition()])
            await registry.refresh(uow)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await pin_and_fail()
    assert registry.snapshot().tools(USER) == []


async def test_names_resolve_by_alias_if_only_one_tool_has_it(database: Database) -> None:
    registry = Registry()
    other = ServerConfig(name="lab_run", command=("x",))
    await pin(database, registry, SERVER, definition("run.fast"), definition("walk"))
    await pin(database, registry, other, ToolDefinition("lab_run", "fast", "", {}))
    snapshot = registry.snapshot()
    assert snapshot.resolve("lab_walk").full_name == "lab.walk"
    with pytest.raises(AppError) as caught:
        snapshot.resolve("lab_run_fast")
    assert caught.value.code is Code.TOOL_UNKNOWN
    assert "lab_run.fast" in caught.value.details["similar"]


def test_the_hash_ignores_key_order_and_sees_every_part() -> None:
    one = ToolDefinition("s", "t", "d", {"a": 1, "b": {"c": 2, "d": 3}})
    same = ToolDefinition("s", "t", "d", {"b": {"d": 3, "c": 2}, "a": 1})
    assert one.sha256 == same.sha256
    others = [
        replace(one, name="u"),
        replace(one, description="e"),
        replace(one, input_schema={}),
        replace(one, output_schema={}),
        replace(one, annotations={}),
    ]
    assert len({item.sha256 for item in (one, *others)}) == len(others) + 1
    assert ToolDefinition.from_dict("s", one.as_dict()) == one


def test_a_tool_is_a_value() -> None:
    tool = Tool("s.t", "s", definition(), "Approved", False, 1, 2.0)
    assert tool == replace(tool)
