"""The decision: nobody exceeds a limit, everybody who fits is let in, lines are fair."""

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.orchestration.limits.rates import Rate
from tests.orchestration.limits.test_rates import assert_conform
from tests.orchestration.limits.world import World, gate

TOOL, KEY, OTHER_KEY = "tool:a.b", f"key:{UUID(int=1)}:k", f"key:{UUID(int=1)}:l"
HOG, GUEST = 1, 2


def test_a_serial_key_runs_in_order() -> None:
    world = World({KEY: gate(KEY, 1)})
    jobs = [world.submit(HOG, 0, [KEY]) for _ in range(5)]
    while world.running:
        world.end(next(iter(world.running)))
    assert [job for job, _ in world.admitted] == jobs


def test_a_job_of_more_priority_goes_first_in_its_users_line() -> None:
    world = World({KEY: gate(KEY, 1)})
    first, second, urgent = (world.submit(HOG, priority, [KEY]) for priority in (0, 0, 2))
    world.end(first)
    assert list(world.running) == [urgent]
    world.end(urgent)
    assert list(world.running) == [second]


def test_a_users_thousand_do_not_delay_anothers_first() -> None:
    world = World({TOOL: gate(TOOL, 1)})
    jobs = world.submit_many([(HOG, 0, [TOOL])] * 300)
    guest = world.submit(GUEST, 0, [TOOL])
    world.end(jobs[0])
    world.end(next(iter(world.running)))
    assert guest in world.running or guest in [job for job, _ in world.admitted]


def test_one_whose_key_is_full_is_in_nobodys_way() -> None:
    world = World({TOOL: gate(TOOL, 2), KEY: gate(KEY, 1)})
    world.submit_many([(HOG, 0, [TOOL, KEY])] * 300)
    assert [one.line for one in world.waiting.values()] == [KEY] * 299
    guest = world.submit(GUEST, 0, [TOOL])
    assert guest in world.running
    assert len(world.running) == 2


def test_a_line_without_room_elsewhere_does_not_hold_up_who_needs_less() -> None:
    world = World({TOOL: gate(TOOL, 0), KEY: gate(KEY, 1)})
    world.submit_many([(HOG, 0, [TOOL, KEY])] * 300)
    free = world.submit(HOG, 0, [KEY])
    world.keep()
    assert list(world.running) == [free]


def test_two_crowded_lines_do_not_send_jobs_to_and_fro() -> None:
    world = World({TOOL: gate(TOOL, 2), "tool:c.d": gate("tool:c.d", 3)})
    for both in ([TOOL, "tool:c.d"], [TOOL], ["tool:c.d"]) * 4:
        world.submit_many([(user, 0, both) for user in range(15)])
    while world.running:
        world.end(next(iter(world.running)))
        world.keep()
    assert not world.waiting


def test_raising_lets_in_and_lowering_lets_nobody_in() -> None:
    world = World({TOOL: gate(TOOL, 3)})
    world.submit_many([(user, 0, [TOOL]) for user in range(20)])
    world.gates[TOOL].max_running = 1
    world.end(next(iter(world.running)))
    assert len(world.running) == 2
    world.gates[TOOL].max_running = None
    world.changed(TOOL)
    world.keep()
    assert not world.waiting


def test_a_paused_limit_lets_nobody_in_until_it_goes_on() -> None:
    world = World({TOOL: gate(TOOL, None)})
    world.gates[TOOL].is_paused = True
    world.submit_many([(HOG, 0, [TOOL])] * 40)
    world.keep()
    assert not world.running
    world.gates[TOOL].is_paused = False
    world.changed(TOOL)
    world.keep()
    assert len(world.running) == 40


def test_a_rate_books_no_further_than_its_horizon() -> None:
    world = World({TOOL: gate(TOOL, None, Rate(60, 5))})
    world.submit_many([(HOG, 0, [TOOL])] * 100)
    first = len(world.running)
    assert 14 <= first <= 16
    world.now += 4
    world.keep()
    assert len(world.running) == first
    world.now += 2
    world.keep()
    assert len(world.running) > first
    assert_conform(Rate(60, 5), [at for _, at in world.admitted])


NAMES = (TOOL, KEY, OTHER_KEY, "user:x")


class Admissions(RuleBasedStateMachine):
    """Random submits, ends, cancels, changes and time against the promises of admission."""

    @initialize(
        most=st.tuples(*[st.one_of(st.none(), st.integers(0, 4)) for _ in NAMES]),
        rate=st.one_of(st.none(), st.builds(Rate, st.integers(6, 600), st.integers(1, 5))),
    )
    def begin(self, most: tuple[int | None, ...], rate: Rate | None) -> None:
        self.world = World({n: gate(n, m) for n, m in zip(NAMES, most, strict=True)})
        self.world.gates[TOOL].rate = rate
        self.rate = rate

    @rule(
        asked=st.lists(
            st.tuples(
                st.integers(1, 3),
                st.integers(-2, 2),
                st.sets(st.sampled_from(NAMES), min_size=1, max_size=3),
            ),
            min_size=1,
            max_size=30,
        )
    )
    def submit(self, asked: list[tuple[int, int, set[str]]]) -> None:
        self.world.submit_many([(u, p, sorted(names)) for u, p, names in asked])

    @precondition(lambda self: self.world.running or self.world.waiting)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        living = sorted(self.world.running.keys() | self.world.waiting.keys())
        self.world.end(data.draw(st.sampled_from(living)))

    @rule(name=st.sampled_from(NAMES), most=st.one_of(st.none(), st.integers(0, 4)))
    def change(self, name: str, most: int | None) -> None:
        self.world.gates[name].max_running = most
        self.world.changed(name)

    @rule(name=st.sampled_from(NAMES))
    def pause_or_resume(self, name: str) -> None:
        self.world.gates[name].is_paused = not self.world.gates[name].is_paused
        self.world.changed(name)

    @rule(seconds=st.floats(0.1, 20))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def keep(self) -> None:
        world = self.world
        world.keep()
        for one in world.waiting.values():
            # A rate books ahead: a line is looked at long before its time, but not all the time.
            shut = [
                name
                for name in one.names
                if world.gates[name].opens_at(world.now) is None or world.gates[name].wake_at
            ]
            assert shut, "a job waits although all its limits have room"

    @invariant()
    def slots_are_counted(self) -> None:
        for name, each in self.world.gates.items():
            held = sum(name in one.names for one in self.world.running.values())
            assert each.in_use == held

    @invariant()
    def each_waits_in_one_line_of_its_own(self) -> None:
        for one in self.world.waiting.values():
            assert one.line in one.names
            assert one.line in one.turns
        assert not self.world.running.keys() & self.world.waiting.keys()

    def teardown(self) -> None:
        rate = getattr(self, "rate", None)
        if rate is not None:
            starts = [at for job, at in self.world.admitted if TOOL in self.world.names[job]]
            assert_conform(rate, starts)


class Bounded(Admissions):
    """Without changes of numbers, no limit is ever exceeded."""

    change = None  # type: ignore[assignment]

    @invariant()
    def nothing_is_exceeded(self) -> None:
        for each in self.world.gates.values():
            assert each.max_running is None or each.in_use <= each.max_running


TestAdmissions = Admissions.TestCase
TestBounded = Bounded.TestCase
TestAdmissions.settings = TestBounded.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
