"""A workflow as it is ordered: everything that can be wrong is found before anything is held."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.kernel.errors import AppError
from app.orchestration.workflow.arguments import argument_mistakes
from app.orchestration.workflow.envelope import BillingMode, Envelope
from app.orchestration.workflow.inputs import check_input
from app.orchestration.workflow.mistakes import Mistake, refusal
from app.orchestration.workflow.plan import NodePlan, Plan
from app.orchestration.workflow.pricing import ANY_INPUT, bound_micro, target_of
from app.orchestration.workflow.runnable import check_supported
from app.orchestration.workflow.steps import StepResult

_ARGUMENTS = {"tool": ("arguments", "/arguments"), "agent": ("input", "/agent/input")}
_NAMES = {"tool": "/tool", "agent": "/agent/template", "sandbox": "/sandbox"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a target is offered as: its price, the version that is pinned, its input's schema."""

    price_micro: int
    pin: str | int
    schema: Mapping[str, Any] | None = None


Find = Callable[[str], Offer]
"""The offer of a target (`tool:<name>`, `template:<name>`), or the `AppError` that says why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What is agreed besides the definition and its input."""

    billing: BillingMode = "outcome"
    name: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A definition without mistakes, and the offers for what it calls."""

    raw: Mapping[str, Any]
    plan: Plan
    offers: Mapping[str, Offer] = field(default_factory=dict)

    @property
    def prices(self) -> dict[str, int]:
        """Micro-credits of one success by target."""
        return {target: offer.price_micro for target, offer in self.offers.items()}

    @property
    def pins(self) -> dict[str, str | int]:
        """The versions by target."""
        return {target: offer.pin for target, offer in self.offers.items()}

    def check_input(self, given: Any) -> None:
        """Raise `invalid_input` or `unknown_field` if this is no input of the workflow."""
        check_input(self.plan, given)

    def bound_micro(
        self,
        given: Any,
        kept: Mapping[str, StepResult] | None = None,
        unpaid: Collection[str] = (),
    ) -> int:
        """The most that a run can cost; of steps in `kept` only those `unpaid` cost anything."""
        return bound_micro(self.plan, given, self.prices, kept, unpaid)

    def most_micro(self) -> int:
        """The most that a run with any input can cost."""
        return bound_micro(self.plan, ANY_INPUT, self.prices)

    def envelope(
        self,
        given: Any,
        agreed: Agreement,
        source: str | None = None,
        kept: tuple[str, ...] = (),
        unpaid: tuple[str, ...] = (),
    ) -> Envelope:
        """What the job keeps."""
        return Envelope(
            definition=self.raw,
            input=given,
            billing=agreed.billing,
            prices=self.prices,
            pins=self.pins,
            name=agreed.name,
            version=agreed.version,
            forked_from=source,
            kept=kept,
            unpaid=unpaid,
        )


def targets_of(plan: Plan) -> set[str]:
    """The targets of a plan's nodes: what needs a price and a version."""
    return {target for node in plan.walk() if (target := target_of(node)) is not None}


def order_workflow(raw: Mapping[str, Any], plan: Plan, *, find: Find) -> Order:
    """The order for a definition whose plan `check` gave.

    Raises `invalid_input` or `unknown_field` with every mistake in `details.errors`: what the
    nodes give to their tools and templates, what has no price, and what runs cannot do.
    """
    offers: dict[str, Offer] = {}
    found: list[Mistake] = []
    for node in plan.walk():
        found += _look_up(node, offers, find)
        found += _unfit(node, offers)
    try:
        check_supported(plan)
    except AppError as error:
        found += [Mistake(**one) for one in error.details["errors"]]
    if found:
        raise refusal(found)
    return Order(raw, plan, offers)


def _look_up(node: NodePlan, offers: dict[str, Offer], find: Find) -> list[Mistake]:
    target = target_of(node)
    if target is None or target in offers:
        return []
    try:
        offers[target] = find(target)
    except AppError as error:
        words = f"{error.message} {error.hint or ''}".strip()
        return [Mistake(node.pointer + _NAMES[node.kind], error.code.value, words)]
    return []


def _unfit(node: NodePlan, offers: Mapping[str, Offer]) -> list[Mistake]:
    offer = offers.get(target_of(node) or "")
    if offer is None or offer.schema is None or node.kind not in _ARGUMENTS:
        return []
    name, place = _ARGUMENTS[node.kind]
    return argument_mistakes(node.values[name], offer.schema, node.pointer + place)
