"""The command line: `uaol`. Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 something this
machine lacks (database, sandbox, server), 4 the request was refused (bad input, no credits).
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
import orjson
from rich.console import Console

from app import __version__
from app.kernel.errors import AppError, Code

_RUN_FAILED = {Code.CHECK_FAILED, Code.NO_GUIDE, Code.ATTEMPTS_EXHAUSTED, Code.JOB_CANCELLED}
_FIRST_SERVER_ERROR = 500
_PIPE_WIDTH = 240
_SHOWN = 600


def make_console(*, is_error: bool = False) -> Console:
    """A console; without colours unless it is a terminal (or `NO_COLOR` says so)."""
    console = Console(stderr=is_error, highlight=False)
    if not console.is_terminal:
        # A pipe has no width of its own; nothing should be cut for it.
        console.width = _PIPE_WIDTH
    return console


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where there is one: it halves the cost of a request."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end; Ctrl-C ends it in order."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def exit_code(error: AppError) -> int:
    """The exit code of an error."""
    if error.code in _RUN_FAILED:
        return 1
    return 3 if error.status >= _FIRST_SERVER_ERROR else 4


def show_error(error: AppError) -> None:
    """Print an error and what to do next."""
    console = make_console(is_error=True)
    console.print("error ", end="", style="bold red")
    console.print(f"[{error.code}] ", end="", markup=False)
    console.print(error.message, markup=False, soft_wrap=True)
    if error.hint:
        console.print(f"  {error.hint}", markup=False, style="dim", soft_wrap=True)
    for name, value in error.details.items():
        if value in ([], {}, None, ""):
            continue
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
        console.print(f"  {name}: {shown}", markup=False, style="dim", soft_wrap=True)


class _Commands(click.Group):
    """Loads a command's module when the command is used, so that help is instant."""

    _NAMES = (
        "demo",
        "up",
        "task",
        "tools",
        "servers",
        "jobs",
        "schedules",
        "queue",
        "retention",
        "key",
        "vault",
        "doctor",
        "serve",
        "worker",
        "sandboxd",
        "migrate",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self._NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        match cmd_name:
            case "demo":
                from app.cli.demo import demo as command
            case "doctor":
                from app.cli.doctor import doctor as command
            case "task":
                from app.cli.task import task as command
            case "tools" | "servers":
                return _of_the_catalogue(cmd_name)
            case "jobs" | "schedules" | "queue" | "retention":
                return _of_the_queue(cmd_name)
            case "key" | "vault":
                return _of_credentials(cmd_name)
            case "serve" | "up" | "worker" | "sandboxd" | "migrate":
                return _of_the_processes(cmd_name)
            case _:
                return None
        return command


def _of_the_processes(name: str) -> click.Command:
    from app.cli import sandboxd, serve

    known: dict[str, click.Command] = {**serve.COMMANDS, "sandboxd": sandboxd.sandboxd}
    return known[name]


def _of_the_catalogue(name: str) -> click.Command:
    from app.cli import servers, tools

    known: dict[str, click.Command] = {"tools": tools.tools, "servers": servers.servers}
    return known[name]


def _of_credentials(name: str) -> click.Command:
    from app.cli import keys, vault

    known: dict[str, click.Command] = {"key": keys.key, "vault": vault.vault}
    return known[name]


def _of_the_queue(name: str) -> click.Command:
    from app.cli import jobs, queue, retention, schedules

    known: dict[str, click.Command] = {
        "jobs": jobs.jobs,
        "schedules": schedules.schedules,
        "queue": queue.queue,
        "retention": retention.retention,
    }
    return known[name]


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="uaol")
def main() -> None:
    """UAOL: tools, workflows and agents over MCP; each run priced, metered and checked."""


def run() -> None:
    """The entry point."""
    from app.kernel.telemetry import configure_logging

    # `serve`, `worker` and `sandboxd`, whose logs a machine reads, change it to JSON.
    configure_logging(os.environ.get("UAOL_LOG_LEVEL", "WARNING"), is_plain=True)
    try:
        main(standalone_mode=False)
    except AppError as error:
        show_error(error)
        sys.exit(exit_code(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
