"""Sessions: a Python that keeps its variables from one task to the next, for one owner.

A session's worker is never given to anybody else. Who names a session that has ended is told so
and why, as long as that is remembered: to begin it anew in silence would be to lose variables in
silence.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.sandbox.pool import Worker

W = TypeVar("W", bound=Worker)
Key = tuple[str, str]
_log = logging.getLogger(__name__)

_REMEMBERED = 1000


@dataclass(frozen=True)
class SessionPlan:
    """How many sessions there may be, and for how long: unused for `idle_s`, in all `lease_s`."""

    most: int = 16
    per_owner: int = 2
    idle_s: float = 600.0
    lease_s: float = 3600.0


@dataclass(frozen=True)
class Terms:
    """What is fixed when a session begins: its packages, and whether it may have a way out."""

    requirements: frozenset[str] = frozenset()
    is_open: bool = False

    def allow(self, asked: "Terms") -> bool:
        """Whether a task that asks for this much can run in such a session."""
        return asked.requirements <= self.requirements and self.is_open >= asked.is_open


@dataclass
class Session(Generic[W]):
    """One session; `terms` is what was fixed when it began.

    `worker` is None until its first task has one.
    """

    key: Key
    began_at: float
    used_at: float
    terms: Terms
    worker: W | None = None
    runs: int = 0
    is_busy: bool = True


class Sessions(Generic[W]):
    """All sessions of one executor."""

    def __init__(
        self, plan: SessionPlan, clock: Clock, kill: Callable[[W], Awaitable[object]]
    ) -> None:
        self._plan, self._clock, self._kill = plan, clock, kill
        self._open: dict[Key, Session[W]] = {}
        self._ended: OrderedDict[Key, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    async def enter(self, owner: str, session_id: str, terms: Terms) -> Session[W]:
        """The session for one task of the owner's, new if it is; `leave` it at the task's end.

        Raises AppError: SANDBOX_SESSION_ENDED, SANDBOX_SESSION_BUSY, and INVALID_INPUT where
        `terms` go beyond those it began with.
        """
        key = (owner, session_id)
        await self.tend()
        if key in self._ended:
            raise _over(session_id, self._ended[key])
        session = self._open.get(key)
        if session is None:
            return await self._begin(key, terms)
        if session.is_busy:
            raise _busy(f"The session {session_id!r} runs another task.", "Wait for its end.")
        if not session.terms.allow(terms):
            raise AppError(
                Code.INVALID_INPUT,
                f"The session {session_id!r} began with less requirements, or without egress.",
                hint="Keep to what it began with, or begin another session with all you need.",
                details={"field": "session_id"},
            )
        session.is_busy = True
        return session

    async def leave(self, session: Session[W], ended: str | None = None) -> None:
        """The task is over; `ended` says why the session is, too."""
        session.is_busy, session.used_at = False, self._clock.monotonic()
        if ended is not None:
            await self._end(session, ended)

    async def tend(self) -> None:
        """End those that died, were idle or open for too long; a task is let finish."""
        now = self._clock.monotonic()
        for session in [one for one in self._open.values() if not one.is_busy]:
            if session.is_busy:
                continue  # it was taken while another one was put away
            if session.worker is not None and not session.worker.is_alive:
                await self._end(session, "its Python has ended")
            elif now - session.used_at >= self._plan.idle_s:
                await self._end(session, f"it was not used for {self._plan.idle_s:g} s")
            elif now - session.began_at >= self._plan.lease_s:
                await self._end(session, f"it was open for {self._plan.lease_s:g} s")

    async def close(self) -> None:
        """End all of them."""
        for session in list(self._open.values()):
            await self._end(session, "the sandbox was closed")

    async def _begin(self, key: Key, terms: Terms) -> Session[W]:
        victim = self._victim(key[0])
        if len(self._open) - (victim is not None) >= self._plan.most:
            raise _busy("All sessions of this machine are in use.", "Try again in some minutes.")
        now = self._clock.monotonic()
        session: Session[W] = Session(key, now, now, terms)
        # In its place before anything is waited for, so that nobody else begins it too.
        self._open[key] = session
        if victim is not None:
            why = f"a newer one took its place, as one user has at most {self._plan.per_owner}"
            try:
                await self._end(victim, why)
            except BaseException:
                del self._open[key]
                raise
        return session

    def _victim(self, owner: str) -> Session[W] | None:
        """The owner's session that has to make way for a new one: the longest unused."""
        own = [one for one in self._open.values() if one.key[0] == owner]
        if len(own) < self._plan.per_owner:
            return None
        idle = [one for one in own if not one.is_busy]
        if not idle:
            hint = f"One user has at most {self._plan.per_owner}; wait for the end of a task."
            raise _busy("All your sessions run tasks.", hint)
        return min(idle, key=lambda one: one.used_at)

    async def _end(self, session: Session[W], why: str) -> None:
        if self._open.pop(session.key, None) is None:
            return
        if session.worker is None:
            return
        self._ended[session.key] = why
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        try:
            await self._kill(session.worker)
        except Exception:  # noqa: BLE001 - whatever it was, the session is over
            _log.exception("a session was not put away cleanly")


def _over(session_id: str, why: str) -> AppError:
    return AppError(
        Code.SANDBOX_SESSION_ENDED,
        f"The session {session_id!r} has ended: {why}.",
        hint="Begin another with a new session_id; its variables are gone.",
    )


def _busy(message: str, hint: str) -> AppError:
    return AppError(Code.SANDBOX_SESSION_BUSY, message, hint=hint)
