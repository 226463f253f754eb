"""A world in memory around the pure decision: what the tables keep, without a database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.orchestration.limits.lines import Candidate, Gate, decide
from app.orchestration.limits.names import scope_of
from app.orchestration.limits.rates import Rate


def gate(name: str, most: int | None, rate: Rate | None = None) -> Gate:
    return Gate(name, scope_of(name), most, rate)


@dataclass
class World:
    """Limits, who holds them and who waits; every step decides as the admission does."""

    gates: dict[str, Gate]
    now: float = 1e9
    waiting: dict[UUID, Candidate] = field(default_factory=dict)
    running: dict[UUID, Candidate] = field(default_factory=dict)
    admitted: list[tuple[UUID, float]] = field(default_factory=list)
    names: dict[UUID, Sequence[str]] = field(default_factory=dict)
    count: int = 0

    def submit(self, user: int, priority: int, names: Sequence[str]) -> UUID:
        (job,) = self.submit_many([(user, priority, names)])
        return job

    def submit_many(self, asked: Sequence[tuple[int, int, Sequence[str]]]) -> list[UUID]:
        fresh = []
        for user, priority, names in asked:
            self.count += 1
            fresh.append(Candidate(UUID(int=self.count), UUID(int=user), priority, sorted(names)))
        self.names |= {one.job_id: one.names for one in fresh}
        self._round({name for one in fresh for name in one.names}, fresh)
        return [one.job_id for one in fresh]

    def end(self, job: UUID) -> None:
        one = self.running.pop(job, None)
        if one is not None:
            for name in one.names:
                self.gates[name].in_use -= 1
        else:
            one = self.waiting.pop(job)
        self._round(self._needed(set(one.names)), [])

    def keep(self) -> None:
        """Look at due lines until none is due."""
        for _ in range(300):
            due = {g.name for g in self.gates.values() if g.wake_at and g.wake_at <= self.now}
            if not due:
                return
            self._round(self._needed(due), [])
        raise AssertionError("the keeper never comes to rest")

    def changed(self, name: str) -> None:
        self.gates[name].wake_at = self.now

    def line(self, name: str) -> list[Candidate]:
        found = [one for one in self.waiting.values() if one.line == name]
        return sorted(found, key=lambda one: (one.turns[name], -one.priority, one.job_id))

    def _needed(self, names: set[str], most: int = 20) -> set[str]:
        heads = [one for name in names for one in self.line(name)[:most]]
        return names | {name for one in heads for name in one.names}

    def _round(self, names: set[str], fresh: list[Candidate], most: int = 20) -> None:
        gates = {name: self.gates[name] for name in sorted(names)}
        waiting = []
        for name, each in gates.items():
            count = min(each.looks_at(self.now), most)
            heads = self.line(name)[:count]
            usable = [one for one in heads if gates.keys() >= set(one.names)]
            each.is_backed = 0 < count <= len(heads) or len(usable) < len(heads)
            each.is_skipped = False
            waiting += usable
        lasts: dict[tuple[str, UUID], dict[int, int]] = {}
        for one in self.waiting.values():
            assert one.line is not None
            last = lasts.setdefault((one.line, one.user_id), {})
            turn = one.turns[one.line]
            last[one.priority] = max(turn, last.get(one.priority, turn))
        decision = decide(gates, waiting, fresh, lasts, self.now)
        for one, at in decision.admitted:
            self.waiting.pop(one.job_id, None)
            self.running[one.job_id] = one
            self.admitted.append((one.job_id, at))
        for one in decision.parked:
            self.waiting[one.job_id] = one
