"""Who is admitted and who waits where: the decision, without database or clock.

Each limit has one line. A job stands in the line of one limit that has no room for it and takes
its limits all at once, so it never holds one while it waits for another.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.orchestration.limits.names import Scope
from app.orchestration.limits.rates import HORIZON_S, Rate

PRIORITIES = range(-2, 3)
MOST = 500
"""Jobs of one line that are looked at in one transaction."""
_SLACK = 16
_RETRY_S = 0.5
_NARROW = {"key": 0, "user": 1, "tool": 2}

Rank = tuple[int, int, UUID]
Lasts = Mapping[tuple[str, UUID], Mapping[int, int]]


@dataclass(slots=True)
class Gate:
    """A limit as it stands, locked; `turn` is that of the last job admitted from its line.

    `is_backed`: more jobs wait in the line than can be decided on now, so nobody may pass them;
    `is_skipped`: one of them is just being changed by somebody else.
    """

    name: str
    scope: Scope
    max_running: int | None
    rate: Rate | None
    is_paused: bool = False
    in_use: int = 0
    tat: float | None = None
    turn: int = 0
    wake_at: float | None = None
    is_backed: bool = False
    is_skipped: bool = False

    def _has_slot(self) -> bool:
        is_free = self.max_running is None or self.in_use < self.max_running
        return is_free and not self.is_paused

    def opens_at(self, now: float) -> float | None:
        """When one more job may start, or None if it has to wait in the line."""
        if not self._has_slot():
            return None
        at = now if self.rate is None else self.rate.conforming(self.tat, now)
        return at if at <= now + HORIZON_S else None

    def room(self, now: float) -> int:
        """How many more jobs there is room for, at most `MOST`."""
        if self.is_paused:
            return 0
        free = MOST if self.max_running is None else self.max_running - self.in_use
        ahead = MOST if self.rate is None else self.rate.room(self.tat, now)
        return max(0, min(free, ahead, MOST))

    def looks_at(self, now: float) -> int:
        """How many of its line to look at: some more than have room, as other limits may not."""
        room = self.room(now)
        return min(room + _SLACK, MOST) if room else 0

    def take(self, at: float) -> None:
        """Let one job in, to start at `at`."""
        self.in_use += 1
        if self.rate is not None:
            self.tat = self.rate.spent(self.tat, at)

    def next_look(self, now: float, *, is_waited: bool) -> float | None:
        """When its line needs a look without a job's end; None if no look would help."""
        if not is_waited or not self._has_slot():
            return None
        if self.rate is None or self.rate.conforming(self.tat, now) <= now + HORIZON_S:
            return now if self.is_backed else now + _RETRY_S
        return self.rate.looked_at(self.tat, now)


@dataclass(slots=True)
class Candidate:
    """A job that wants in: its limits, and the turn it has in each line it has stood in."""

    job_id: UUID
    user_id: UUID
    priority: int
    names: Sequence[str]
    turns: dict[str, int] = field(default_factory=dict)
    line: str | None = None


@dataclass(slots=True)
class Decision:
    """Jobs let in with their starting times; jobs that stand in a new line (see `line`)."""

    admitted: list[tuple[Candidate, float]] = field(default_factory=list)
    parked: list[Candidate] = field(default_factory=list)


class Lines:
    """The lines of locked limits for one decision. Changes the gates and candidates given."""

    def __init__(
        self, gates: Mapping[str, Gate], lasts: Lasts, now: float, waiting: Iterable[Candidate]
    ) -> None:
        self._gates = gates
        self._lasts = {key: dict(turns) for key, turns in lasts.items()}
        self._now = now
        self._lines: dict[str, list[Rank]] = {name: [] for name in gates}
        for one in waiting:
            if one.line is not None:
                insort(self._lines[one.line], self._rank(one, one.line))

    def try_in(self, one: Candidate, decision: Decision) -> None:
        """Admit a job, move it to the line of another limit, or leave it where it stands."""
        blocked = [name for name in one.names if not self._fits(one, name)]
        if not blocked:
            self._admit(one, decision)
        elif one.line not in blocked:
            self._park(one, min(blocked, key=self._narrow), decision)

    def is_waited(self, name: str) -> bool:
        """Whether somebody is known to stand in that line."""
        gate = self._gates[name]
        return bool(self._lines[name]) or gate.is_backed or gate.is_skipped

    def _narrow(self, name: str) -> tuple[int, str]:
        return _NARROW[self._gates[name].scope], name

    def _turn(self, one: Candidate, name: str) -> int:
        """A job's turn in a line: the one it has there, or the one it would get now."""
        if name in one.turns:
            return one.turns[name]
        last = self._lasts.get((name, one.user_id), {})
        own = [turn + 1 for priority, turn in last.items() if priority >= one.priority]
        return max([self._gates[name].turn, *own])

    def _rank(self, one: Candidate, name: str) -> Rank:
        return self._turn(one, name), -one.priority, one.job_id

    def _fits(self, one: Candidate, name: str) -> bool:
        gate, line = self._gates[name], self._lines[name]
        if gate.opens_at(self._now) is None:
            return False
        # Who waits already only moves to lines that are closed, or two of them could send each
        # other to and fro for ever. A new job passes nobody.
        if one.line is not None:
            return True
        is_free = not (gate.is_backed or gate.is_skipped)
        return is_free and (not line or line[0] >= self._rank(one, name))

    def _leave(self, one: Candidate) -> None:
        if one.line is not None:
            self._lines[one.line].remove(self._rank(one, one.line))

    def _admit(self, one: Candidate, decision: Decision) -> None:
        self._leave(one)
        gates = [self._gates[name] for name in one.names]
        at = max([self._now, *(gate.opens_at(self._now) or self._now for gate in gates)])
        for gate in gates:
            gate.take(at)
            gate.turn = max(gate.turn, one.turns.get(gate.name, 0))
        one.line = None
        decision.admitted.append((one, at))

    def _park(self, one: Candidate, name: str, decision: Decision) -> None:
        self._leave(one)
        one.turns[name] = turn = self._turn(one, name)
        last = self._lasts.setdefault((name, one.user_id), {})
        last[one.priority] = max(turn, last.get(one.priority, turn))
        one.line = name
        insort(self._lines[name], self._rank(one, name))
        decision.parked.append(one)


def decide(
    gates: Mapping[str, Gate],
    waiting: Sequence[Candidate],
    fresh: Sequence[Candidate],
    lasts: Lasts,
    now: float,
) -> Decision:
    """Let in whoever fits: first those who wait, by turn, then the new ones in the order given.

    `gates` holds every limit the candidates name, locked; `lasts` the last turn of a user by
    priority in lines where somebody may have to wait. Changes gates and candidates in place.
    """
    unseen = {name for name, gate in gates.items() if gate.wake_at and not gate.room(now)}
    decision, lines = Decision(), Lines(gates, lasts, now, waiting)
    for one in sorted(waiting, key=_order):
        lines.try_in(one, decision)
    for one in fresh:
        lines.try_in(one, decision)
    for gate in gates.values():
        # A line that was closed from the start was not looked at: it may still be waited in.
        is_waited = lines.is_waited(gate.name) or gate.name in unseen
        gate.wake_at = gate.next_look(now, is_waited=is_waited)
    return decision


def _order(one: Candidate) -> Rank:
    return one.turns[one.line or ""], -one.priority, one.job_id
