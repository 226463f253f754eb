"""MCP over a process's pipes: one JSON-RPC message a line, with caps on what a server may send."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from app.proxy.backends.base import Link
from app.proxy.backends.process import CHUNK, ServerProcess
from app.proxy.faults import output_too_large, protocol_error, server_down

_STRAY_LINES = 100
_CHATTER_WINDOW_S = 60.0
_DRAIN_S = 0.3
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)
_log = logging.getLogger(__name__)

Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


class LineTooLongError(Exception):
    """A line passed the cap before it ended."""


async def read_lines(stream: asyncio.StreamReader, limit: int) -> AsyncIterator[bytes]:
    """The stream's lines without their ends, the last unfinished one dropped.

    Raises LineTooLongError once a line holds more than `limit` bytes; never keeps more than that
    and one chunk.
    """
    rest = bytearray()
    while chunk := await stream.read(CHUNK):
        *ended, last = chunk.split(b"\n")
        for part in ended:
            rest += part
            if len(rest) > limit:
                raise LineTooLongError
            yield bytes(rest)
            rest.clear()
        rest += last
        if len(rest) > limit:
            raise LineTooLongError


class PipeTransport:
    """Carries messages between a session's streams and a server's pipes.

    A stray line before the first message is forgiven (many servers greet); after it the server
    does not speak MCP. Whatever is wrong ends the link with its reason and kills the server.
    """

    def __init__(self, process: ServerProcess, link: Link, limit: int) -> None:
        self._process, self._link, self._limit = process, link, limit
        self._has_spoken = False
        self._stray = 0
        self._chatter = 0
        self._window = 0.0
        self._to_session, self.incoming = anyio.create_memory_object_stream[
            SessionMessage | Exception
        ](0)
        self.outgoing, self._from_session = anyio.create_memory_object_stream[SessionMessage](0)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Streams]:
        """Yield the session's streams; both end with the server."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read)
            tasks.start_soon(self._write)
            tasks.start_soon(self._watch)
            try:
                yield self.incoming, self.outgoing
            finally:
                for stream in (self.incoming, self.outgoing):
                    stream.close()
                if self._link.fault is not None:
                    self._process.kill()
                with anyio.CancelScope(shield=True):
                    await self._process.stop()
                tasks.cancel_scope.cancel()
                for end in (self._to_session, self._from_session):
                    end.close()

    async def _watch(self) -> None:
        """End the link when the process is gone, even if a child of it still holds the pipes."""
        await self._process.exited.wait()
        with anyio.move_on_after(_DRAIN_S):
            await self._link.ended.wait()
        self._end()

    async def _read(self) -> None:
        try:
            async for line in read_lines(self._process.stdout, self._limit):
                await self._receive(line)
        except LineTooLongError:
            self._fail_output()
        except _GONE:
            return
        self._end()

    async def _receive(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._forgive(line)
            return
        self._has_spoken = True
        self._count(message, len(line))
        await self._to_session.send(SessionMessage(message))

    def _forgive(self, line: bytes) -> None:
        self._stray += 1
        _log.warning("%s wrote a line that is no MCP message: %r", self._link.server, line[:200])
        if self._has_spoken or self._stray > _STRAY_LINES:
            self._link.fail(
                protocol_error(self._link.server, "wrote something that is no MCP message")
            )
            self._end()

    def _count(self, message: mcp_types.JSONRPCMessage, size: int) -> None:
        """Cap what comes unasked: notifications and requests, by the minute."""
        if isinstance(message, mcp_types.JSONRPCResponse | mcp_types.JSONRPCError):
            return
        now = anyio.current_time()
        if now - self._window > _CHATTER_WINDOW_S:
            self._window, self._chatter = now, 0
        self._chatter += size
        if self._chatter > self._limit:
            self._fail_output()

    def _fail_output(self) -> None:
        self._link.fail(output_too_large(self._link.server, self._limit))
        self._end()

    def _end(self) -> None:
        self._link.end()
        if self._link.fault is not None:
            self._process.kill()
        # The session wakes every call that waits, once its stream has ended.
        self._to_session.close()

    async def _write(self) -> None:
        try:
            async for message in self._from_session:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                self._process.stdin.write(text.encode() + b"\n")
                await self._process.stdin.drain()
        except _GONE:
            return
        except OSError:
            self._link.fail(server_down(self._link.server, "closed its input"))
            self._end()
