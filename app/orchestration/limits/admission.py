"""Admission: jobs hold all their limits or wait; whoever ends lets the next ones in."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration.limits import store
from app.orchestration.limits.lines import MOST, Candidate, Decision, Gate, Lasts, decide

DUE_TOPIC = "due"
LIMITS_TOPIC = "limits"
_NAMES = 32
_EACH = 64


class Asked(Protocol):
    """What admission reads of a job's request."""

    @property
    def user_id(self) -> UUID: ...
    @property
    def priority(self) -> int: ...
    @property
    def limit_names(self) -> tuple[str, ...]: ...
    @property
    def run_at(self) -> datetime | None: ...


class Admission:
    """Lets limited jobs in, in the transaction of their submit and of other jobs' ends.

    Both calls lock limits and must be the last statements of their transaction (after queue
    rows, wallets and ledger).
    """

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups

    async def admit(self, uow: UnitOfWork, items: Sequence[tuple[UUID, Asked]]) -> None:
        """Let new jobs in, or into a line. Each is inserted, parked, and `is_limited`.

        A job whose `run_at` is to come stands in no line before.
        """
        fresh = [
            Candidate(job_id, asked.user_id, asked.priority, sorted(set(asked.limit_names)))
            for job_id, asked in items
            if asked.limit_names
        ]
        if not fresh:
            return
        due = {
            job_id: asked.run_at.timestamp() for job_id, asked in items if asked.run_at is not None
        }
        names = {name for one in fresh for name in one.names}
        gates, now = await store.lock(uow, names)
        await _Round(gates, now, _EACH).settle(
            uow,
            [one for one in fresh if due.get(one.job_id, now) <= now],
            later={one.job_id: (one, due[one.job_id]) for one in fresh if one.job_id in due},
        )
        self._tell(uow, gates, now, has_started=False)

    async def release(self, uow: UnitOfWork, job_ids: Collection[UUID]) -> None:
        """Take ended jobs out of their limits and lines, and let the next ones in."""
        most = min(_EACH + len(job_ids), MOST)
        names = await store.needed(uow, (), job_ids, most)
        if names:
            await self._look(uow, names, most, ended=job_ids)

    async def readmit(self, uow: UnitOfWork, limit: int = _NAMES) -> int:
        """Look at up to `limit` lines that are due for it; returns how many there were."""
        due = await store.due_names(uow, limit)
        if due:
            await self.look(uow, due)
        return len(due)

    async def look(self, uow: UnitOfWork, names: Collection[str]) -> None:
        """Let in whoever fits of the first in these lines."""
        await self._look(uow, await store.needed(uow, names, (), _EACH), _EACH)

    async def ripen(self, uow: UnitOfWork, limit: int = MOST) -> int:
        """Let jobs in whose `run_at` has come; returns how many were due."""
        due = await store.due_jobs(uow, limit)
        if due:
            names = await store.needed(uow, (), due, 0)
            await self._look(uow, names, _EACH, ripe=due)
        return len(due)

    async def heal(self, uow: UnitOfWork, after: str, limit: int = _NAMES) -> str:
        """Recount the limits whose names follow `after`; returns where to go on, '' at the end.

        Slots without a job go, lines are looked at again, limits that nobody needs go.
        """
        names = await store.names_after(uow, after, limit)
        if not names:
            return ""
        gates, now = await store.lock(uow, names)
        for name, (held, is_waited) in (await store.recount(uow, names)).items():
            gates[name].in_use = held
            gates[name].wake_at = now if is_waited else None
        await store.write(uow, [], {}, list(gates.values()))
        await store.forget(uow, names)
        return names[-1] if len(names) == limit else ""

    async def _look(
        self,
        uow: UnitOfWork,
        names: Collection[str],
        most: int,
        *,
        ended: Collection[UUID] = (),
        ripe: Collection[UUID] = (),
    ) -> None:
        gates, now = await store.lock(uow, names)
        for name, count in (await store.free(uow, ended) if ended else {}).items():
            if name in gates:
                gates[name].in_use = max(0, gates[name].in_use - count)
        fresh = await store.ripe(uow, ripe) if ripe else []
        known = [one for one in fresh if gates.keys() >= set(one.names)]
        decision = await _Round(gates, now, most).settle(uow, known)
        self._tell(uow, gates, now, has_started=bool(decision.admitted))

    def _tell(
        self, uow: UnitOfWork, gates: dict[str, Gate], now: float, *, has_started: bool
    ) -> None:
        if has_started:
            uow.after_commit(lambda: self._wakeups.wake(DUE_TOPIC))
        if any(gate.wake_at is not None and gate.wake_at <= now for gate in gates.values()):
            uow.after_commit(lambda: self._wakeups.wake(LIMITS_TOPIC))


class _Round:
    """One decision over locked limits, from the lines as they stand to what is written."""

    def __init__(self, gates: dict[str, Gate], now: float, most: int) -> None:
        self._gates = gates
        self._now = now
        self._most = most

    async def settle(
        self,
        uow: UnitOfWork,
        fresh: Sequence[Candidate],
        later: dict[UUID, tuple[Candidate, float]] | None = None,
    ) -> Decision:
        """Decide on those who wait and the new ones, and write it."""
        waiting = await self._waiting(uow)
        lasts = await self._lasts(uow, waiting, fresh)
        decision = decide(self._gates, waiting, fresh, lasts, self._now)
        slots = [slot for one, _ in decision.admitted for slot in _slots(one, is_held=True)]
        slots += [slot for one in decision.parked for slot in _slots(one)]
        slots += [
            slot
            for one, due in (later or {}).values()
            if due > self._now
            for slot in _slots(one, due=due)
        ]
        starts = {one.job_id: None if at <= self._now else at for one, at in decision.admitted}
        await store.write(uow, slots, starts, list(self._gates.values()))
        return decision

    async def _waiting(self, uow: UnitOfWork) -> list[Candidate]:
        """Those in the lines that may get in now. Who needs a limit not locked here is left."""
        counts = {
            name: min(count, self._most)
            for name, gate in self._gates.items()
            if (count := gate.looks_at(self._now))
        }
        if not counts:
            return []
        heads = await store.heads(uow, counts)
        if heads.orphans:
            await store.free(uow, heads.orphans)
        usable = [one for one in heads.waiting if self._gates.keys() >= set(one.names)]
        foreign = {one.line for one in heads.waiting} - {one.line for one in usable}
        for name, asked in counts.items():
            gate = self._gates[name]
            gate.is_backed = heads.counts[name] >= asked or name in foreign
            gate.is_skipped = name in heads.skipped
        return usable

    async def _lasts(
        self, uow: UnitOfWork, waiting: Sequence[Candidate], fresh: Sequence[Candidate]
    ) -> Lasts:
        """The last turns in lines where somebody may have to wait; most often there is none."""
        asking = dict.fromkeys(self._gates, 0)
        for one in (*waiting, *fresh):
            for name in one.names:
                asking[name] += 1
        lines = {one.line for one in waiting}
        tight = {
            name
            for name, gate in self._gates.items()
            if gate.room(self._now) < asking[name]
            or name in lines
            or gate.is_backed
            or gate.is_skipped
        }
        pairs = {
            (name, one.user_id)
            for one in (*waiting, *fresh)
            for name in one.names
            if name in tight and name not in one.turns
        }
        return await store.lasts(uow, pairs) if pairs else {}


def _slots(one: Candidate, *, is_held: bool = False, due: float | None = None) -> list[store.Slot]:
    return [
        store.Slot(
            one.job_id,
            name,
            one.user_id,
            one.priority,
            one.turns.get(name),
            is_held,
            is_in_line=one.line == name,
            due=due,
        )
        for name in one.names
    ]
