"""The facade of limits: set and show them, and say in memory which ones a job counts against."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.kernel.audit import record
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration.limits.admission import LIMITS_TOPIC
from app.orchestration.limits.book import store
from app.orchestration.limits.names import default_of, key_name, shown, tool_name, user_name
from app.orchestration.limits.types import Limit, LimitQueue, Numbers

NAMES_TOPIC = "limit-names"
_HOLDERS = 100


class JobLimits:
    """Limits of users, tools and keys. One instance a process, which knows the platform's names."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._names: frozenset[str] = frozenset()

    def names_for(
        self, user_id: UUID, *, tool: str | None = None, key: str | None = None
    ) -> tuple[str, ...]:
        """The limits a job counts against; () for most jobs, without a look at the database.

        `tool` is the full name a single-tool job calls, `key` the caller's limit key. Raises
        `invalid_input` for a key that cannot be one.
        """
        if not self._names:
            return () if key is None else (key_name(user_id, key),)
        names = [] if key is None else [key_name(user_id, key)]
        asked = [user_name(user_id)] if tool is None else [user_name(user_id), tool_name(tool)]
        names += [name for name in asked if name in self._names or default_of(name) in self._names]
        return tuple(names)

    async def refresh(self, uow: UnitOfWork) -> None:
        """Learn which limits of users and tools there are."""
        self._names = frozenset(await store.platform_names(uow))

    async def put(self, uow: UnitOfWork, name: str, numbers: Numbers) -> Limit:
        """Set a limit's numbers, in place of any it has; jobs that now fit are let in at once.

        Jobs that run go on, even if there are now more than allowed.
        """
        await store.set_numbers(uow, name, numbers)
        details = {
            "max_running": numbers.max_running,
            "rate_per_minute": numbers.rate_per_minute,
            "is_paused": numbers.is_paused,
        }
        await self._changed(uow, name, "limits.set", details)
        limit = await store.get(uow, name)
        assert limit is not None
        return limit

    async def remove(self, uow: UnitOfWork, name: str) -> None:
        """Take a limit's numbers away: the default of its kind applies. `not_found` if none."""
        if not await store.unset(uow, name):
            raise AppError(Code.NOT_FOUND, f"There is no limit {shown(name)}.")
        await self._changed(uow, name, "limits.removed", {})

    async def _changed(
        self, uow: UnitOfWork, name: str, action: str, details: Mapping[str, object]
    ) -> None:
        if default_of(name) is None:
            await store.wake_heirs(uow, name)
        await record(uow, action, name, details)
        uow.after_commit(lambda: self._wakeups.wake(NAMES_TOPIC))
        uow.after_commit(lambda: self._wakeups.wake(LIMITS_TOPIC))

    async def of_user(
        self, uow: UnitOfWork, user_id: UUID, limit: int, after: str = ""
    ) -> Sequence[Limit]:
        """A user's key limits by name: those set, and those that jobs count against now."""
        return await store.of_user(uow, user_id, after, limit)

    async def of_platform(self, uow: UnitOfWork, limit: int, after: str = "") -> Sequence[Limit]:
        """The limits of users and tools by name; needs a unit of work of the platform."""
        return await store.of_platform(uow, after, limit)

    async def queue(
        self,
        uow: UnitOfWork,
        name: str,
        user_id: UUID | None,
        limit: int = 100,
        after: str | None = None,
    ) -> LimitQueue:
        """Who holds a limit and who waits in its line, next first; only one user's jobs if named.

        Positions count all jobs. `after` continues a page; `not_found` if nothing knows the limit.
        """
        found = await store.get(uow, name)
        if found is None:
            raise AppError(
                Code.NOT_FOUND,
                f"There is no limit {shown(name)}.",
                hint="A limit is there once it is set, or while jobs count against it.",
            )
        page = await store.line(uow, name, user_id, _cursor(after), limit + 1)
        last, turn = page[limit - 1] if len(page) > limit else (None, 0)
        return LimitQueue(
            found,
            await store.holders(uow, name, user_id, _HOLDERS),
            [one for one, _ in page[:limit]],
            None if last is None else f"{turn}.{last.priority}.{last.job_id}",
        )


def _cursor(after: str | None) -> tuple[int, int, UUID] | None:
    if after is None:
        return None
    try:
        turn, priority, job_id = after.split(".")
        number, rank = int(turn), int(priority)
        if not (0 <= number < 2**63 and abs(rank) <= 2):
            raise ValueError
        return number, rank, UUID(job_id)
    except ValueError:
        raise AppError(
            Code.INVALID_INPUT,
            "The cursor is not one of this queue.",
            hint="Give `after` of the page before, or none for the first page.",
            details={"pointer": "/after"},
        ) from None
