"""What a job of kind `workflow` keeps: the definition, its input, and what was agreed at submit.

Prices and pins are fixed when the job is made, so that nobody pays a price published later and a
replay can see whether a tool is still the one that gave the results it keeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

BillingMode = Literal["outcome", "usage"]
BILLING_MODES: tuple[str, ...] = get_args(BillingMode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The `definition` of a job of kind `workflow`.

    `prices` are micro-credits of one success by target (`tool:sequence.translate`,
    `template:crispr_knockout`); None for a job that has one price for the whole. `pins` are
    versions by target: the hash of a tool's definition, the version of a template. `kept` are
    the paths of steps whose results came with the job from `forked_from`; `unpaid` those of them
    that nobody was charged for yet, which this job therefore pays.
    """

    definition: Mapping[str, Any]
    input: Any = None
    billing: BillingMode = "outcome"
    prices: Mapping[str, int] | None = None
    pins: Mapping[str, str | int] = field(default_factory=dict)
    name: str | None = None
    version: int | None = None
    forked_from: str | None = None
    kept: tuple[str, ...] = ()
    unpaid: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not set."""
        body: dict[str, Any] = {"definition": dict(self.definition), "input": self.input}
        if self.prices is not None:
            body |= {"billing": self.billing, "prices": dict(self.prices), "pins": dict(self.pins)}
        if self.name is not None:
            body["saved"] = {"name": self.name, "version": self.version}
        if self.forked_from is not None:
            body |= {"forked_from": self.forked_from, "kept": sorted(self.kept)}
        if self.unpaid:
            body["unpaid"] = sorted(self.unpaid)
        return body

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Envelope":
        """The envelope that `as_dict` gave."""
        return cls(
            definition=body["definition"],
            input=body.get("input"),
            billing=body.get("billing", "outcome"),
            prices=body.get("prices"),
            pins=body.get("pins", {}),
            name=body.get("saved", {}).get("name"),
            version=body.get("saved", {}).get("version"),
            forked_from=body.get("forked_from"),
            kept=tuple(body.get("kept", ())),
            unpaid=tuple(body.get("unpaid", ())),
        )
