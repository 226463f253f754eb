"""`uaol tools`: list the tools, call one, approve a changed one."""

import json

import click

from app.billing import credits_text
from app.cli import make_console, run_async
from app.cli.session import open_session
from app.cli.view import table
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.kernel.settings import load_settings


def _quiet(_message: str) -> None:
    return None


@click.group()
def tools() -> None:
    """List and call tools."""


@tools.command("list")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def list_tools(is_json: bool) -> None:
    """List the tools with their prices."""

    async def work() -> None:
        async with open_session(load_settings(), _quiet) as session:
            found = (await session.connection.get("/v1/tools"))["tools"]
        if is_json:
            click.echo(json.dumps(found, indent=2))
            return
        rows = [
            [
                tool["name"],
                credits_text(tool["price_micro"]),
                (tool["description"] or "").split("\n")[0][:80],
            ]
            for tool in found
        ]
        make_console().print(table("Tools", ["name", "credits", "what it does"], rows))

    run_async(work())


def _arguments(text: str) -> dict[str, object]:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise AppError(Code.INVALID_INPUT, f"The arguments are not JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise AppError(Code.INVALID_INPUT, "The arguments must be a JSON object.")
    return arguments


@tools.command("call")
@click.argument("name")
@click.argument("arguments", default="{}")
def call_tool(name: str, arguments: str) -> None:
    """Call tool NAME with ARGUMENTS (a JSON object); prints its answer as JSON."""
    values = _arguments(arguments)

    async def work() -> None:
        async with open_session(load_settings(), _quiet) as session:
            answer = await session.connection.call_raw(name, values)
        click.echo(json.dumps(answer.get("structuredContent", answer), indent=2))

    run_async(work())


@tools.command("approve")
@click.argument("name")
def approve(name: str) -> None:
    """Approve the definition that tool NAME has now (operators)."""
    from app.wiring import opened

    async def work() -> None:
        async with (
            opened(load_settings()) as services,
            services.database.begin(SERVICE) as uow,
        ):
            await services.registry.approve(uow, name)
        make_console().print(f"{name} is approved as it is now.")

    run_async(work())
