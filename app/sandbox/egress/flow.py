"""Moves bytes both ways between a client and its upstream, and ends it when a cap is reached."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from app.sandbox.egress.budget import Budget, Direction
from app.sandbox.egress.policies import Policy
from app.sandbox.egress.upstream import Ends
from app.sandbox.types import EgressVerdict

# A server that has said all may still be told goodbye by its client.
_LINGER_S = 1.0


class CutError(Exception):
    """The flow ended otherwise than by its two ends' wish."""

    def __init__(self, verdict: EgressVerdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict: EgressVerdict = verdict
        self.reason = reason


class Flow:
    """One connection's two directions; `moved` are the bytes that went through so far."""

    def __init__(self, client: Ends, upstream: Ends, policy: Policy, budget: Budget) -> None:
        self._client, self._upstream = client, upstream
        self._policy, self._budget = policy, budget
        self._now = asyncio.get_running_loop().time
        self._until = self._now() + policy.seconds
        self._timer: asyncio.Timeout | None = None
        self.moved: dict[Direction, int] = {"up": 0, "down": 0}

    async def run(
        self, up: AsyncGenerator[bytes, None], down: AsyncGenerator[bytes, None], *, is_tunnel: bool
    ) -> None:
        """Send `up` and bring `down` back, until that has come to its end.

        In a tunnel the client's end is passed on. Raises CutError, and what the two raise.
        """
        sending = asyncio.create_task(self._send(up, is_tunnel=is_tunnel))
        receiving = asyncio.create_task(self._receive(down))
        tasks = (sending, receiving)
        try:
            async with asyncio.timeout(None) as self._timer:
                self._touch(0.0)
                await _settle(sending, receiving, _LINGER_S if is_tunnel else 0.0)
        except TimeoutError:
            raise CutError("cut", self._late()) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _send(self, up: AsyncGenerator[bytes, None], *, is_tunnel: bool) -> None:
        try:
            async with contextlib.aclosing(up):
                async for data in up:
                    if not await self._pass("up", data, self._upstream):
                        # It may have answered before it stopped to listen.
                        return
        except (asyncio.IncompleteReadError, OSError):
            raise CutError("allowed", "client_left") from None
        if is_tunnel:
            _end(self._upstream.writer)

    async def _receive(self, down: AsyncGenerator[bytes, None]) -> None:
        try:
            async with contextlib.aclosing(down):
                async for data in down:
                    if not await self._pass("down", data, self._client):
                        raise CutError("allowed", "client_left")
        except OSError:
            raise CutError("failed", "upstream_lost") from None
        _end(self._client.writer)

    async def _pass(self, direction: Direction, data: bytes, to: Ends) -> bool:
        """Write what the caps allow; False if the other side takes no more."""
        allowed, delay = self._budget.take(direction, len(data))
        self._touch(delay)
        if delay:
            await asyncio.sleep(delay)
        # Before it is sent: what is cut off in between has left us all the same.
        self.moved[direction] += allowed
        if not await to.send(data[:allowed]):
            return False
        self._touch(0.0)
        if allowed < len(data):
            raise CutError("cut", f"bytes_{direction}")
        return True

    def _late(self) -> str:
        """Which end it was, by what the timer was set to: clocks may be some way short of it."""
        when = None if self._timer is None else self._timer.when()
        return "seconds" if when == self._until else "idle"

    def _touch(self, delay: float) -> None:
        """Put the end for silence off; the end for length stays."""
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(min(self._until, self._now() + delay + self._policy.idle_s))


def _end(writer: asyncio.StreamWriter) -> None:
    """Pass an end on; a connection that is gone needs none."""
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _settle(
    sending: asyncio.Task[None], receiving: asyncio.Task[None], linger_s: float
) -> None:
    """Wait for both to end or for either to fail; for the first only a while after the second."""
    await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
    if not receiving.done() and sending.exception() is None:
        await asyncio.wait([receiving])
    elif not sending.done() and receiving.exception() is None:
        await asyncio.wait([sending], timeout=linger_s)
