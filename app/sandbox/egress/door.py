"""The door of one task: its socket, its open calls, its budget and its log."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from app.sandbox.egress.answers import egress_summary
from app.sandbox.egress.budget import Budget
from app.sandbox.egress.call import Call
from app.sandbox.egress.folders import BoundSocket
from app.sandbox.egress.policies import Policy
from app.sandbox.egress.request import MAX_HEAD
from app.sandbox.egress.upstream import Dialler, Ends
from app.sandbox.types import EgressCall

MAX_LISTED = 1000
_log = logging.getLogger(__name__)


class Door:
    """Open from `open` to `close`; nobody but the task in the folder's sandbox comes through."""

    def __init__(
        self,
        policy: Policy,
        task_id: str,
        dialler: Dialler,
        forget: Callable[["Door"], None],
    ) -> None:
        """`forget` is told when the door has been closed."""
        self.policy = policy
        self.calls: list[EgressCall] = []
        """The calls that have ended, in that order, up to `MAX_LISTED`."""
        self.unlisted = 0
        self._task_id = task_id
        self._dialler = dialler
        self._forget = forget
        self._budget = Budget(policy, asyncio.get_running_loop().time)
        self._tried = 0
        self._running: set[asyncio.Task[None]] = set()
        self._bound: BoundSocket | None = None
        self._server: asyncio.Server | None = None
        self._is_closed = False

    async def open(self, folder: Path) -> None:
        """Let the socket appear in the folder. Raises OSError."""
        self._bound = BoundSocket(folder)
        try:
            self._server = await asyncio.start_unix_server(
                self._accept, sock=self._bound.sock, limit=MAX_HEAD
            )
        except BaseException:
            self._bound.sock.close()
            self._bound.remove()
            raise

    async def close(self) -> None:
        """Take the socket away and end what goes through; `calls` is whole afterwards."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stop_listening()
        for task in self._running:
            task.cancel()
        try:
            await asyncio.gather(*self._running, return_exceptions=True)
        finally:
            self._forget(self)
        self._log_calls()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_closed or self._tried >= self.policy.calls:
            writer.transport.abort()
            return
        self._tried += 1
        if self._tried >= self.policy.calls:
            self._stop_listening()
        call = Call(Ends(reader, writer), self.policy, self._budget, self._dialler)
        is_full = len(self._running) >= self.policy.connections
        task = asyncio.create_task(self._serve(call, is_one_too_many=is_full))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # One that is cancelled before its first step has closed nothing.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, call: Call, *, is_one_too_many: bool) -> None:
        try:
            await call.run(is_one_too_many=is_one_too_many)
        finally:
            if len(self.calls) < MAX_LISTED:
                self.calls.append(call.record())
            else:
                self.unlisted += 1

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._bound is not None:
            self._bound.remove()

    def _log_calls(self) -> None:
        if self.calls:
            fields = {
                "task": self._task_id,
                "policy": self.policy.name,
                "calls": egress_summary(self.calls),
                "unlisted": self.unlisted,
            }
            _log.info("egress of a sandboxed task", extra=fields)
