"""Tools that need several rounds (multi-round-trip requests of 2026-07-28)."""

from collections.abc import Awaitable, Callable

from mcp_types import CLIENT_CAPABILITIES_META_KEY

from tests.conformance.everything.asking import (
    Context,
    form,
    given,
    needed,
    roots,
    sampling,
    state,
)
from tests.conformance.everything.blocks import Wire, said

Round = Callable[[Context, Wire], Awaitable[Wire]]
_STRING, _TRUTH = {"type": "string"}, {"type": "boolean"}
_NAME = form("What is your name?", name=_STRING)
_CONFIRM = form("Please confirm", ok=_TRUTH)
_CAPITAL = sampling("What is the capital of France?")


def _filled(context: Context, key: str) -> Wire | None:
    """The form answered under `key`; None if it was not, or not accepted."""
    answer = given(context).get(key, {})
    return dict(answer.get("content") or {}) if answer.get("action") == "accept" else None


async def elicit(context: Context, _arguments: Wire) -> Wire:
    answer = _filled(context, "user_name")
    if answer is None or "name" not in answer:
        return needed({"user_name": _NAME})
    return said(f"Hello, {answer['name']}!")


async def sample(context: Context, _arguments: Wire) -> Wire:
    answer = given(context).get("capital_question")
    if answer is None:
        return needed({"capital_question": _CAPITAL})
    return said("The model said:", str(answer.get("content")))


async def list_roots(context: Context, _arguments: Wire) -> Wire:
    answer = given(context).get("client_roots")
    if answer is None:
        return needed({"client_roots": roots()})
    return said("Roots:", *(root["uri"] for root in answer.get("roots", [])))


async def keep_state(context: Context, _arguments: Wire) -> Wire:
    if _filled(context, "confirm") is None or state(context) is None:
        return needed({"confirm": _CONFIRM}, "waiting")
    return said("state-ok" if state(context) == "waiting" else "state-lost")


async def several(context: Context, _arguments: Wire) -> Wire:
    asked = {
        "user_name": _NAME,
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": roots(),
    }
    if not asked.keys() <= given(context).keys():
        return needed(asked, "all three")
    return said("All three were answered.")


async def two_rounds(context: Context, _arguments: Wire) -> Wire:
    at, first, second = state(context), _filled(context, "step1"), _filled(context, "step2")
    if at == "second" and second is not None:
        return said("Your colour is", str(second.get("color")))
    if at == "first" and first is not None:
        return needed({"step2": form("Step 2: What is your colour?", color=_STRING)}, "second")
    return needed({"step1": form("Step 1: What is your name?", name=_STRING)}, "first")


async def declared_only(context: Context, _arguments: Wire) -> Wire:
    """Asks only in ways that the client said it has."""
    declared = dict((context.meta or {}).get(CLIENT_CAPABILITIES_META_KEY) or {})
    ways = {"elicitation": ("user_name", _NAME), "sampling": ("capital_question", _CAPITAL)}
    asked = dict(way for capability, way in ways.items() if capability in declared)
    if not asked or asked.keys() <= given(context).keys():
        return said("Nothing more is needed.")
    return needed(asked)


ROUNDS: dict[str, tuple[str, Round]] = {
    "elicitation": ("Asks for a name", elicit),
    "sampling": ("Asks the client's model", sample),
    "list_roots": ("Asks for the client's roots", list_roots),
    "request_state": ("Asks, and gets its state back", keep_state),
    "multiple_inputs": ("Asks for three things at once", several),
    "multi_round": ("Asks twice", two_rounds),
    "tampered_state": ("Asks; a changed state is refused before it gets here", keep_state),
    "capabilities": ("Asks only for what the client can do", declared_only),
}
