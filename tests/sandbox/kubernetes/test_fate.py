"""What is read from pods' statuses, in the forms that kubelets write."""

from typing import Any

import pytest

from app.sandbox.executors.kubernetes.fate import check_gate, delay, end, fate, is_up
from app.sandbox.links import Fate
from app.sandbox.types import IsolationError
from sandbox import gate

Object = dict[str, Any]


def pod(state: Object, phase: str = "Running", **more: Any) -> Object:
    """A pod whose container is in this state, beside one that is none of ours."""
    other = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 9}}}
    return {
        "status": {
            "phase": phase,
            "containerStatuses": [other, {"name": "sandbox", "state": state}],
            **more,
        }
    }


RUNNING = pod({"running": {"startedAt": "2026-01-01T00:00:00Z"}})


def ended(code: int, reason: str = "Error") -> Object:
    return pod({"terminated": {"exitCode": code, "reason": reason}}, "Failed")


def test_up_and_not_up() -> None:
    assert is_up(RUNNING)
    for one in ({}, {"status": {}}, pod({}), pod({"waiting": {}}, "Pending"), ended(0)):
        assert not is_up(one)
    assert end(RUNNING) is None
    assert end(pod({"waiting": {"reason": "ContainerCreating"}}, "Pending")) is None


@pytest.mark.parametrize("status", [{"status": None}, {}, {"status": {"containerStatuses": None}}])
def test_a_status_may_be_empty(status: Object) -> None:
    assert end(status) is None
    assert delay(status) == ""


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (RUNNING, Fate()),
        (None, Fate()),
        (ended(0, "Completed"), Fate()),
        (ended(137, "OOMKilled"), Fate(is_oom=True)),
        (ended(1), Fate(complaint="Error (exit code 1)")),
        (
            pod({"terminated": {"exitCode": 137, "reason": "Error"}}, "Failed",
                reason="NodeLost", message="Node n1 is gone"),
            Fate(complaint="NodeLost: Node n1 is gone (exit code 137)",
                 outage="NodeLost: Node n1 is gone (exit code 137)"),
        ),
        (
            pod({}, "Failed", reason="DeadlineExceeded", message="too long"),
            Fate(complaint="DeadlineExceeded: too long", outage="DeadlineExceeded: too long"),
        ),
        (
            pod({"terminated": {"exitCode": 137, "reason": "Error"}}, "Failed", reason="Evicted",
                message="Container sandbox exceeded its local ephemeral storage limit"),
            Fate(complaint="Evicted: Container sandbox exceeded its local ephemeral storage limit"
                           " (exit code 137)"),
        ),
        (
            pod({"waiting": {"reason": "ErrImagePull", "message": "no"}}, "Pending"),
            Fate(complaint="ErrImagePull: no"),
        ),
        (
            pod({"waiting": {"reason": "ContainerCreating"}}, "Pending"),
            Fate(complaint="ContainerCreating"),
        ),
    ],
)  # fmt: skip
def test_fates(seen: Object | None, expected: Fate) -> None:
    assert fate(seen) == expected


def test_a_cut_stream_is_an_outage_unless_the_pod_says_why() -> None:
    assert fate(RUNNING, is_cut=True).outage == "the stream to its pod broke"
    assert fate(None, "it was removed", is_cut=True).outage == "it was removed"
    assert fate(ended(137, "OOMKilled"), is_cut=True) == Fate(is_oom=True)


@pytest.mark.parametrize("code", [gate.NO_FACTS, gate.NO_TARGET, gate.NO_FILTER, gate.NETWORK_OPEN])
def test_a_gate_that_shuts_is_a_reason_to_refuse(code: int) -> None:
    with pytest.raises(IsolationError) as caught:
        check_gate(ended(code))
    assert caught.value.hint


def test_other_ends_are_not_the_gates() -> None:
    for seen in (None, RUNNING, ended(1), ended(gate.NOT_SPOKEN_TO), ended(137, "OOMKilled")):
        check_gate(seen)
