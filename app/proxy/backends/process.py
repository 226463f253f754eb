"""A tool server's process: started with a bare environment in a session of its own.

The session makes the process a group, so that a kill reaches what it started, and keeps Ctrl-C
of the terminal away from it.
"""

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, SubprocessStreamProtocol
from collections.abc import Mapping, Sequence
from contextlib import suppress

from app.kernel.scrub import Scrubber

CHUNK = 1 << 16
_INHERITED = ("PATH", "HOME", "LANG")
_GRACE_S = 2.0
_TERM_S = 1.0
_LOG_LINES = 200
_LOG_WINDOW_S = 60.0
_LOG_WIDTH = 2000
_log = logging.getLogger(__name__)


class _ExitProtocol(SubprocessStreamProtocol):
    """Tells of the exit itself; `Process.wait` also waits for pipes that children still hold."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=CHUNK, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class ServerProcess:
    """A running server with its pipes. `stop` or `kill` ends it with everything it started."""

    def __init__(
        self, name: str, transport: asyncio.SubprocessTransport, protocol: _ExitProtocol
    ) -> None:
        assert protocol.stdin is not None
        assert protocol.stdout is not None
        assert protocol.stderr is not None
        self.name = name
        self.pid = transport.get_pid()
        self.stdin, self.stdout, self._stderr = protocol.stdin, protocol.stdout, protocol.stderr
        self.exited = protocol.exited
        self._transport = transport

    @classmethod
    async def spawn(
        cls, name: str, command: Sequence[str], env: Mapping[str, str]
    ) -> "ServerProcess":
        """Start `command` (first word `python`: this interpreter). Raises OSError."""
        loop = asyncio.get_running_loop()
        words = [sys.executable, *command[1:]] if command[0] == "python" else list(command)
        transport, protocol = await loop.subprocess_exec(
            lambda: _ExitProtocol(loop),
            *words,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment(env),
            start_new_session=True,
        )
        return cls(name, transport, protocol)

    def kill(self) -> None:
        """Kill the whole group now."""
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Close stdin, give the server time to go, then end the group (MCP, stdio shutdown)."""
        with suppress(OSError):
            self.stdin.close()
        if not await self._has_exited(_GRACE_S):
            self._signal(signal.SIGTERM)
            await self._has_exited(_TERM_S)
        # Even after the leader's own end: what it started must not outlive it.
        self.kill()
        await self._has_exited(_TERM_S)
        self._transport.close()

    async def log_stderr(self, secrets: Sequence[str]) -> None:
        """Drain stderr into the log, line by line, so many lines a minute; secrets are masked."""
        loop, scrubber = asyncio.get_running_loop(), Scrubber(secrets)
        window, count = loop.time(), 0
        while chunk := await self._stderr.read(CHUNK):
            if loop.time() - window > _LOG_WINDOW_S:
                window, count = loop.time(), 0
            for line in chunk.splitlines()[: max(0, _LOG_LINES - count)]:
                count += 1
                text = scrubber.text(line.decode(errors="replace"))[:_LOG_WIDTH]
                _log.info("%s: %s", self.name, text, extra={"server": self.name})

    async def _has_exited(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.exited.wait()
        return self.exited.is_set()

    def _signal(self, number: signal.Signals) -> None:
        # The group's number stays taken as long as one of its processes lives.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def environment(declared: Mapping[str, str]) -> dict[str, str]:
    """PATH, HOME and LANG of this process and what the server declares; nothing else leaks in."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | dict(declared)
