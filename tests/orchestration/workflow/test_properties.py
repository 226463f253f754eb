"""Random workflows: they end, every node runs once or is skipped, and any way leads to one end."""

from collections.abc import Iterable
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.orchestration.workflow import Plan, StepResult, advance, keep_upstream_of
from tests.orchestration.workflow.executor import Run, Step, done, failed, plan_of, run

FLAGS = {"t": True, "f": False}


def _after(draw: st.DrawFn, position: int) -> list[str]:
    if position == 0:
        return []
    sources = st.integers(0, position - 1).map(lambda i: f"n{i}")
    return draw(st.lists(sources, max_size=3, unique=True))


def _reference(draw: st.DrawFn, position: int) -> Any:
    if position and draw(st.booleans()):
        return f"${{{{ steps.n{draw(st.integers(0, position - 1))}.status }}}}"
    return "${{ input.t }}"


def _body(draw: st.DrawFn, position: int) -> Any:
    on_error = draw(st.sampled_from(["fail", "continue"]))
    step = {"tool": "s.t", "arguments": {"x": _reference(draw, position)}, "on_error": on_error}
    if draw(st.booleans()):
        return step
    inner = {"if": f"${{{{ input.{draw(st.sampled_from('tf'))} }}}}", "then": [f"q{position}"]}
    nodes = {
        f"p{position}": step,
        f"b{position}": {"branch": {"when": [inner]}, "after": [f"p{position}"]},
        f"q{position}": {"tool": "s.t"},
    }
    return {"nodes": nodes, "on_error": on_error}


def _node(draw: st.DrawFn, position: int, size: int) -> dict[str, Any]:
    node: dict[str, Any] = {"after": _after(draw, position)}
    kind = draw(st.sampled_from(["tool", "tool", "tool", "wait", "branch", "map"]))
    if kind == "branch":
        later = st.integers(position + 1, size).filter(lambda i: i < size).map(lambda i: f"n{i}")
        arm = st.lists(later, max_size=2, unique=True) if position + 1 < size else st.just([])
        flag = draw(st.sampled_from("tf"))
        when = [{"if": f"${{{{ input.{flag} }}}}", "then": draw(arm)}]
        return {**node, "branch": {"when": when, "else": draw(arm)}}
    node["on_error"] = draw(st.sampled_from(["fail", "continue", "continue"]))
    if kind == "wait":
        return {**node, "wait": {"seconds": 1}}
    if kind == "map":
        options = {"parallel": draw(st.integers(1, 3)), "max_items": 5}
        over = list(range(draw(st.integers(0, 4))))
        return {**node, "map": {"over": over, "do": _body(draw, position), **options}}
    return {**node, "tool": "s.t", "arguments": {"x": _reference(draw, position)}}


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """Nodes whose edges lead from lower to higher numbers, written down in any order."""
    size = draw(st.integers(1, 9))
    nodes = {f"n{i}": _node(draw, i, size) for i in range(size)}
    order = draw(st.permutations(sorted(nodes)))
    return {name: nodes[name] for name in order}


class Executor:
    """Answers by a step's path alone, so that every run meets the same world."""

    def __init__(self, seed: int, failures: bool) -> None:
        self.seed = seed
        self.failures = failures

    def __call__(self, step: Step) -> StepResult:
        if self.failures and Random(f"{self.seed}{step.path}").random() < 0.2:
            return failed(message=step.path)
        return done({"path": step.path, "arguments": getattr(step, "arguments", None)})


_worlds = st.builds(Executor, st.integers(0, 9), st.booleans())
_bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _run(nodes: dict[str, Any], world: Executor, **more: Any) -> tuple[Plan, Run]:
    plan = plan_of(nodes)
    return plan, run(plan, FLAGS, world, **more)


def _heads(paths: list[str]) -> set[str]:
    return {path.partition("[")[0] for path in paths}


@_bounded
@given(workflows(), _worlds, st.integers(0, 99))
def test_each_node_runs_once_or_is_skipped(
    nodes: dict[str, Any], world: Executor, seed: int
) -> None:
    _, finished = _run(nodes, world, random=Random(seed))
    assert len(finished.paths) == len(set(finished.paths))
    skipped = [path for path in finished.skipped if "[" not in path]
    assert len(skipped) == len(set(skipped))
    ran = _heads(finished.paths)
    assert not ran & set(skipped)
    if finished.end.status == "Success":
        work = {name for name, node in nodes.items() if "tool" in node or "wait" in node}
        assert work <= ran | set(skipped)


@_bounded
@given(workflows(), _worlds, st.integers(0, 99))
def test_no_step_is_given_before_what_it_waits_for(
    nodes: dict[str, Any], world: Executor, seed: int
) -> None:
    plan = plan_of(nodes)
    waits_for = {
        node.name: {plan.root.nodes[source].name for source, _ in node.edges}
        for node in plan.root.nodes
    }
    for name, node in nodes.items():
        assert set(node["after"]) <= waits_for[name]
        for arm in (
            [node["branch"]["when"][0]["then"], node["branch"]["else"]] if "branch" in node else []
        ):
            assert all(name in waits_for[target] for target in arm)
    finished = run(plan, FLAGS, world, random=Random(seed))
    known: dict[str, StepResult] = {}
    for path in finished.finished:
        state = advance(plan, FLAGS, known)
        settled = {*known, *state.settled, *state.skipped}
        head = path.partition("[")[0]
        assert waits_for[head] <= settled
        known[path] = finished.results[path]
        if state.end is not None or head in state.settled:
            continue  # it was still in flight when its map, or the workflow, failed
        assert path in {step.path for step in (*state.ready, *state.waiting)}


@_bounded
@given(workflows(), _worlds, st.integers(0, 99))
def test_the_order_in_which_steps_end_does_not_matter(
    nodes: dict[str, Any], world: Executor, seed: int
) -> None:
    plan, straight = _run(nodes, world)
    other = run(plan, FLAGS, world, random=Random(seed))
    assert other.end.status == straight.end.status
    if straight.end.status == "Success":
        assert other.end == straight.end
        both = other.results.keys() & straight.results.keys()
        assert all(other.results[path] == straight.results[path] for path in both)
        assert other.skipped == straight.skipped


def _whole(paths: Iterable[str]) -> set[str]:
    """The steps that are no items of maps."""
    return {path for path in paths if "[" not in path}


@_bounded
@given(workflows(), _worlds, st.integers(0, 99), st.integers(1, 3))
def test_a_run_with_few_steps_at_a_time_ends_the_same(
    nodes: dict[str, Any], world: Executor, seed: int, most: int
) -> None:
    plan, straight = _run(nodes, world)
    other = run(plan, FLAGS, world, random=Random(seed), most=most)
    assert other.end.status == straight.end.status
    if straight.end.status == "Success":
        assert (other.end, other.skipped) == (straight.end, straight.skipped)
        # After a failed item a map starts no more of them: how many had begun is chance.
        assert _whole(other.paths) == _whole(straight.paths)
        if all(result.status == "Success" for result in straight.results.values()):
            assert set(other.paths) == set(straight.paths)


@_bounded
@given(workflows(), _worlds, st.integers(0, 99), st.data())
def test_a_run_taken_up_from_any_of_its_results_ends_the_same(
    nodes: dict[str, Any], world: Executor, seed: int, data: st.DataObject
) -> None:
    plan, first = _run(nodes, world, random=Random(seed))
    count = data.draw(st.integers(0, len(first.finished)))
    kept = {path: first.results[path] for path in first.finished[:count]}
    if data.draw(st.booleans()):
        # What follows from results may be stored with them.
        kept |= advance(plan, FLAGS, kept).settled
    again = run(plan, FLAGS, world, results=kept)
    assert again.end.status == first.end.status
    assert not set(again.paths) & kept.keys()
    if first.end.status == "Success":
        assert again.end == first.end


@_bounded
@given(workflows(), _worlds, st.data())
def test_stepping_is_a_function_of_its_arguments(
    nodes: dict[str, Any], world: Executor, data: st.DataObject
) -> None:
    plan, finished = _run(nodes, world)
    some = data.draw(st.lists(st.sampled_from([*finished.results, "n0[7].x"]), unique=True))
    results = {path: finished.results.get(path, done()) for path in some}
    backwards = dict(reversed(results.items()))
    state = advance(plan, FLAGS, results)
    assert advance(plan, FLAGS, backwards) == state
    assert advance(plan_of(nodes), FLAGS, results) == state
    assert state.end is not None or state.ready or state.waiting


@_bounded
@given(workflows(), st.integers(0, 9), st.data())
def test_replay_from_any_step_repeats_it_and_ends_the_same(
    nodes: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    world = Executor(seed, failures=False)
    plan, first = _run(nodes, world)
    step = data.draw(st.sampled_from(sorted([*nodes, *first.results])))
    kept = keep_upstream_of(plan, step, first.results)
    again = run(plan, FLAGS, world, results=kept)
    assert again.end == first.end
    assert step not in kept
    assert set(again.paths) == first.results.keys() - kept.keys()
