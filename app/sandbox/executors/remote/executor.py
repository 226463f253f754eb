"""Runs tasks by way of a `sandboxd`, so that whoever takes requests holds no engine's socket.

Each call has a connection of its own: what is abandoned here is killed there, a daemon that was
restarted is found again by the next call, and no task waits behind another one's files.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from app.kernel.errors import AppError
from app.sandbox.executors.inputs import (
    InputChangedError,
    OpenInput,
    close_inputs,
    contents,
    open_inputs,
)
from app.sandbox.types import (
    Capabilities,
    Ended,
    Event,
    IsolationError,
    TaskResult,
    TaskSpec,
)
from app.sandbox.wire import (
    BYTES,
    CHUNK,
    DONE,
    HELLO,
    KNOWN,
    TASK,
    VERSION,
    Address,
    WireError,
    capabilities_of,
    load_json,
    receive,
    receive_event,
    refusal,
    send,
    send_json,
    task_json,
)

# A daemon that is restarted is back in a moment; one that starts with the server has a self-test
# before it listens.
_CONNECT_S = 2.0
_FIRST_CONNECT_S = 20.0
_PAUSE_S = 0.05
_ANSWER_S = 60.0
_GONE = (OSError, EOFError)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RemoteExecutor:
    """See `Executor`; the one behind it is the daemon's."""

    name = "sandboxd"

    def __init__(self, address: Address, token: Callable[[], str | None] = lambda: None) -> None:
        """`token` is asked at each connection, so that a changed file is noticed."""
        self._address, self._token = address, token
        self._open: set[asyncio.StreamWriter] = set()
        self._patience_s = _FIRST_CONNECT_S

    async def capabilities(self) -> Capabilities:
        """See Executor.capabilities; asked anew each time, as the daemon may have changed."""
        try:
            return capabilities_of(await self._ask("capabilities", KNOWN))
        except WireError as error:
            raise self._away(error) from error

    async def run(self, spec: TaskSpec) -> TaskResult:
        """See Executor.run."""
        async with contextlib.aclosing(self._events("run", spec)) as events:
            async for event in events:
                if isinstance(event, Ended):
                    return event.result
        raise AssertionError("a conversation ends with its result")

    def stream(self, spec: TaskSpec) -> AsyncIterator[Event]:
        """See Executor.stream."""
        return self._events("stream", spec)

    async def cancel(self, task_id: str) -> None:
        """See Executor.cancel. A daemon that is away has no task left to kill."""
        with contextlib.suppress(IsolationError):
            await self._ask("cancel", DONE, task_id=task_id)

    async def close(self) -> None:
        """See Executor.close: the daemon kills what it still runs for this executor."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _ask(self, operation: str, expected: bytes, **more: Any) -> Any:
        """A question with one answer. Raises IsolationError where there is none."""
        try:
            async with asyncio.timeout(_ANSWER_S), self._connected(operation, **more) as streams:
                kind, payload = await receive(streams[0])
            value = load_json(payload)
            if kind != expected:
                raise refusal(kind, value)
        except (*_GONE, WireError) as error:
            raise self._away(error) from error
        return value

    async def _events(self, operation: str, spec: TaskSpec) -> AsyncGenerator[Event, None]:
        inputs = await asyncio.to_thread(open_inputs, spec)
        try:
            async with self._connected(operation) as (reader, writer):
                sending = asyncio.create_task(_send_task(writer, spec, inputs))
                try:
                    async for event in _until_end(reader):
                        yield event
                except (*_GONE, WireError) as error:
                    yield Ended(_lost(sending, error))
                finally:
                    sending.cancel()
                    await asyncio.wait([sending])
        finally:
            close_inputs(inputs)

    @contextlib.asynccontextmanager
    async def _connected(self, operation: str, **more: Any) -> AsyncIterator[Streams]:
        hello = {"version": VERSION, "token": self._read_token(), "operation": operation, **more}
        reader, writer = await self._connect()
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):  # an answer may have come before the end
                await send_json(writer, HELLO, hello)
            yield reader, writer
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    def _read_token(self) -> str | None:
        try:
            return self._token()
        except AppError as error:
            raise IsolationError(error.message, error.hint or "") from error

    async def _connect(self) -> Streams:
        """A connection; a daemon that is just being started is waited for."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        self._patience_s = _CONNECT_S
        while True:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    return await _open(self._address)
            except OSError as error:
                if asyncio.get_running_loop().time() + _PAUSE_S >= deadline:
                    raise self._away(error) from error
            await asyncio.sleep(_PAUSE_S)

    def _away(self, error: BaseException) -> IsolationError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return IsolationError(
            f"sandboxd at {self._address} does not answer: {reason}.",
            "Start it with `uaol sandboxd`, or see its log; it is then found again by itself. "
            "UAOL_SANDBOX_DAEMON is its address.",
        )


async def _open(address: Address) -> Streams:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)


async def _until_end(reader: asyncio.StreamReader) -> AsyncIterator[Event]:
    while True:
        event = await receive_event(reader)
        yield event
        if isinstance(event, Ended):
            return


async def _send_task(writer: asyncio.StreamWriter, spec: TaskSpec, inputs: list[OpenInput]) -> str:
    """Send it to the end, or as far as that goes: why it did not, where that is our fault."""
    try:
        await send_json(writer, TASK, task_json(spec, [(item.name, item.size) for item in inputs]))
        async for data in contents(inputs):
            for start in range(0, len(data), CHUNK):
                await send(writer, BYTES, data[start : start + CHUNK])
    except InputChangedError as error:
        # without an end to the connection, the daemon would wait for the rest
        writer.transport.abort()
        return str(error)
    except OSError:
        pass  # the daemon has hung up; what it said before is read elsewhere
    return ""


def _lost(sending: asyncio.Task[str], error: BaseException) -> TaskResult:
    """The result of a task whose daemon is gone, or whose input could not be sent to the end."""
    fault = sending.result() if sending.done() and not sending.cancelled() else ""
    broken = str(error) if isinstance(error, WireError) else "sandboxd went away during the task"
    return TaskResult("infra_error", stderr=f"sandbox: {fault or broken}\n")
