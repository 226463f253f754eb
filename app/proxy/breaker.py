"""Circuit breakers: a server that fails call after call is left alone for a while.

The state machine is pure: a circuit and a time in, a circuit out (M. Nygard, Release It!, 2nd
edition, 2018, section 5.2). A tool's own refusals are no failures; faults of its server are.
"""

from dataclasses import dataclass, replace
from typing import Literal

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code

FAILURES = 5
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
# A trial whose outcome is never told, as of a caller that went away, frees the way after this.
TRIAL_S = 30.0
_FAULTS = frozenset({Code.TOOL_SERVER_DOWN, Code.TOOL_PROTOCOL_ERROR, Code.TOOL_TIMEOUT})

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Circuit:
    """A server's circuit; `until` is a monotonic time in seconds, `pause_s` the last pause."""

    state: State = "closed"
    failures: int = 0
    until: float = 0.0
    pause_s: float = 0.0


def admit(circuit: Circuit, now: float) -> Circuit | None:
    """The circuit with one call let through, or None if the call is refused.

    Closed lets all through; open none before `until`, then one on trial, which makes it half-open;
    half-open none until the trial has an outcome, or is given up.
    """
    if circuit.state == "closed":
        return circuit
    if now < circuit.until:
        return None
    return replace(circuit, state="half-open", until=now + TRIAL_S)


def succeeded(_circuit: Circuit) -> Circuit:
    """The circuit after an answer: closed, whatever it was."""
    return Circuit()


def failed(circuit: Circuit, now: float) -> Circuit:
    """The circuit after a fault: open once there were enough in a row, or the trial failed.

    Faults of calls that began before it opened change nothing. Pauses double up to the longest.
    """
    if circuit.state == "open":
        return circuit
    failures = circuit.failures + 1
    if circuit.state == "closed" and failures < FAILURES:
        return replace(circuit, failures=failures)
    pause = min(circuit.pause_s * 2 or FIRST_PAUSE_S, LONGEST_PAUSE_S)
    return Circuit("open", failures, now + pause, pause)


class Breakers:
    """The circuits of all servers of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}

    def admit(self, server: str) -> None:
        """Raise `tool_server_down` with `retry_after_s` while the server is left alone."""
        circuit = self._circuits.get(server)
        if circuit is None:
            return
        now = self._clock.monotonic()
        admitted = admit(circuit, now)
        if admitted is None:
            raise _left_alone(server, circuit, now)
        self._circuits[server] = admitted

    def record(self, server: str, error: AppError | None) -> None:
        """Tell the outcome of a call that was let through: None for any answer of the server.

        An error that says nothing about the server, such as of a changed tool, is not counted.
        """
        if error is None:
            self._circuits.pop(server, None)
        elif error.code in _FAULTS:
            circuit = self._circuits.get(server, Circuit())
            self._circuits[server] = failed(circuit, self._clock.monotonic())
        else:
            self.dismiss(server)

    def dismiss(self, server: str) -> None:
        """A call that was let through says nothing about the server; the next may be the trial."""
        circuit = self._circuits.get(server)
        if circuit is not None and circuit.state == "half-open":
            self._circuits[server] = replace(circuit, until=self._clock.monotonic())

    def state(self, server: str) -> State:
        """Where a server's circuit stands."""
        return self._circuits.get(server, Circuit()).state


def _left_alone(server: str, circuit: Circuit, now: float) -> AppError:
    wait = round(max(0.001, circuit.until - now), 3)
    return AppError(
        Code.TOOL_SERVER_DOWN,
        f"The tool server {server} failed {circuit.failures} times in a row and is left alone.",
        hint=f"Try again in {wait} s.",
        details={"server": server, "retry_after_s": wait},
    )
