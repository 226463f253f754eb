"""Answers one connection after the other: checks who asks and what, runs it, tells how it went.

Nothing a client says is trusted: frames, sizes, names and limits are checked here, as they were
by the client. A connection that ends takes its task along.
"""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from app.kernel.errors import AppError, Code
from app.sandbox.daemon.asks import Hello, Task, read_hello, read_task
from app.sandbox.daemon.spool import spooled
from app.sandbox.service import Sandbox
from app.sandbox.types import Ended, Event
from app.sandbox.wire import (
    CHUNK,
    DONE,
    HELLO,
    KNOWN,
    REFUSED,
    TASK,
    VERSION,
    WireError,
    capabilities_json,
    error_json,
    load_json,
    receive,
    send_event,
    send_json,
)

_log = logging.getLogger(__name__)
_HELLO_BYTES = 2**16
_TASK_BYTES = 16 * 2**20
_LEAVE_S = 5.0
_GONE = (OSError, EOFError)

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(frozen=True)
class Allowance:
    """What clients may take up. `input_bytes` is of one task, `patience_s` for its next frame."""

    clients: int = 1000
    input_bytes: int = 2**30
    patience_s: float = 30.0


class Daemon:
    """Offers a sandbox to other processes."""

    def __init__(
        self,
        sandbox: Sandbox,
        token: Callable[[], str | None] = lambda: None,
        allowance: Allowance | None = None,
    ) -> None:
        """`token` is asked at each connection; None lets in whoever can connect."""
        self._sandbox, self._token = sandbox, token
        self._allowance = allowance or Allowance()
        self._clients: set[asyncio.Task[Any]] = set()

    def connected(self, reader: Reader, writer: Writer) -> None:
        """Serve a new connection, in the background."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def close(self) -> None:
        """Let go of all clients and kill what runs for them."""
        for task in self._clients:
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        try:
            await self._answer(reader, writer)
        except AppError as error:
            with contextlib.suppress(OSError, TimeoutError):
                await send_json(writer, REFUSED, error_json(error))
                await _hear_out(reader)
        except WireError as error:
            _log.warning("sandboxd: a client broke off", extra={"reason": str(error)})
        except (*_GONE, TimeoutError):
            pass  # the client is gone, and its task with it
        except Exception:  # noqa: BLE001 - one client's trouble is not another's
            _log.exception("sandboxd: a fault")
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, reader: Reader, writer: Writer) -> None:
        hello = await self._hello(reader)
        if hello.operation == "capabilities":
            await send_json(writer, KNOWN, capabilities_json(self._sandbox.capabilities()))
        elif hello.operation == "cancel":
            await self._sandbox.cancel(hello.task_id)
            await send_json(writer, DONE, None)
        else:
            await self._run(reader, writer, is_streamed=hello.operation == "stream")

    async def _hello(self, reader: Reader) -> Hello:
        if len(self._clients) > self._allowance.clients:
            raise AppError(
                Code.RATE_LIMITED, "sandboxd has too many clients.", hint="Try again in a moment."
            )
        hello = read_hello(await self._frame(reader, HELLO, _HELLO_BYTES))
        wanted = self._token()
        if wanted is not None and not hmac.compare_digest(
            wanted.encode(), (hello.token or "").encode()
        ):
            raise AppError(
                Code.UNAUTHENTICATED,
                "sandboxd does not know this client.",
                hint="Give both the same file as UAOL_SANDBOX_DAEMON_TOKEN_FILE.",
            )
        if hello.version != VERSION:
            raise AppError(
                Code.CONFIG_INVALID,
                f"sandboxd speaks version {VERSION}, the client {hello.version}.",
                hint="Update both to the same version.",
            )
        return hello

    async def _frame(self, reader: Reader, kind: bytes, most: int) -> Any:
        async with asyncio.timeout(self._allowance.patience_s):
            found, payload = await receive(reader, most)
        if found != kind:
            raise WireError(f"a frame of the kind {found!r} instead of {kind!r}")
        return load_json(payload)

    async def _run(self, reader: Reader, writer: Writer, *, is_streamed: bool) -> None:
        task = read_task(await self._frame(reader, TASK, _TASK_BYTES))
        self._check_size(task)
        sizes, patience = [size for _, size in task.files], self._allowance.patience_s
        async with spooled(reader, sizes, patience) as folder:
            leaving = asyncio.create_task(_until_gone(reader))
            running = asyncio.create_task(self._tell(writer, task, folder, is_streamed=is_streamed))
            try:
                await asyncio.wait([leaving, running], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for work in (leaving, running):
                    if not work.done():
                        work.cancel()
                await asyncio.wait([leaving, running])
            if not running.cancelled():
                running.result()

    async def _tell(self, writer: Writer, task: Task, folder: Any, *, is_streamed: bool) -> None:
        async with contextlib.aclosing(self._events(task, folder, is_streamed)) as events:
            async for event in events:
                async with asyncio.timeout(self._allowance.patience_s):
                    await send_event(writer, event)

    async def _events(
        self, task: Task, folder: Any, is_streamed: bool
    ) -> AsyncGenerator[Event, None]:
        spec = task.spec(folder, self._sandbox.new_limits())
        if not is_streamed:
            yield Ended(await self._sandbox.run(spec))
            return
        async with contextlib.aclosing(self._sandbox.stream(spec)) as events:
            async for event in events:
                yield event

    def _check_size(self, task: Task) -> None:
        total = sum(size for _, size in task.files)
        if total > self._allowance.input_bytes:
            raise AppError(
                Code.INVALID_INPUT,
                f"`input_files` are {total} bytes; sandboxd takes {self._allowance.input_bytes}.",
                hint="Give the task less data, or put it in a volume.",
                details={"field": "input_files"},
            )


async def _hear_out(reader: Reader) -> None:
    """Take in what a client still says, until it leaves.

    One that is hung up on while it speaks may lose the answer that is on its way to it.
    """
    async with asyncio.timeout(_LEAVE_S):
        while await reader.read(CHUNK):
            pass


async def _until_gone(reader: Reader) -> None:
    """Return when the client lets go of its end, or says what nobody asked for."""
    with contextlib.suppress(OSError):
        await reader.read(1)
