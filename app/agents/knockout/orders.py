"""What is ordered for a knockout: guides that can be cloned and shown, their oligos and primers."""

from collections.abc import Mapping
from typing import NamedTuple

from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.loci import search_groups
from app.agents.knockout.ranking import Policy, choose
from app.agents.types import JSON, RoleContext, RunState
from app.kernel.errors import AppError, Code

_ROUNDS = 4
_NO_PRIMERS = "no_primers"


class Order(NamedTuple):
    """Chosen guides in order, each with its oligos and its primer pair."""

    chosen: list[str]
    oligos: list[JSON]
    vector: JSON
    primers: list[JSON]


async def settle(
    ctx: RoleContext,
    given: KnockoutInput,
    state: RunState,
    found: JSON,
    excluded: dict[str, list[str]],
    policy: Policy,
) -> Order:
    """Choose guides, and again without those that cannot be cloned or have no primer pair.

    Up to four times; what is left out is added to `excluded`, with the reasons.
    """
    await ctx.progress(3, 5, "Choosing guides, designing oligos and primers")
    order = Order([], [], {}, [])
    for _ in range(_ROUNDS):
        chosen = choose(found["candidates"], given.guides, policy, exclude=excluded)
        if not chosen:
            return Order([], [], {}, [])
        guides = [one for one in found["candidates"] if one["id"] in chosen]
        order, lost = await _order(ctx, given, state, found, {one["id"]: one for one in guides})
        excluded.update(lost)
        order = order._replace(chosen=[guide for guide in chosen if guide not in lost])
        if not lost:
            break
    ranks = {guide: rank for rank, guide in enumerate(order.chosen)}
    return order._replace(
        oligos=sorted(order.oligos, key=lambda one: ranks[one["id"]]),
        primers=sorted(order.primers, key=lambda one: ranks[one["id"]]),
    )


async def _order(
    ctx: RoleContext,
    given: KnockoutInput,
    state: RunState,
    found: JSON,
    guides: Mapping[str, JSON],
) -> tuple[Order, dict[str, list[str]]]:
    """Oligos and primers of the guides that have both, and why the others have not."""
    answer = await _oligos(ctx, given, guides)
    rows = dict(zip(guides, answer["oligos"], strict=True))
    lost = {guide: row["refused_because"] for guide, row in rows.items() if row["refused_because"]}
    cuts = {guide: one["cut"] for guide, one in guides.items() if guide not in lost}
    pairs = await _primers(ctx, given, state, found, cuts) if cuts else []
    shown = {pair["id"] for pair in pairs}
    lost |= {guide: [_NO_PRIMERS] for guide in cuts if guide not in shown}
    keys = ("spacer", "top", "bottom", "g_added")
    oligos = [
        {"id": guide, **{key: row[key] for key in keys}}
        for guide, row in rows.items()
        if guide not in lost
    ]
    vector = {key: answer[key] for key in ("vector", "enzyme", "source", "checked_on")}
    return Order([], oligos, vector, pairs), lost


async def _oligos(ctx: RoleContext, given: KnockoutInput, guides: Mapping[str, JSON]) -> JSON:
    arguments: JSON = {
        "spacers": [one["spacer"] for one in guides.values()],
        "vector": given.vector,
    }
    if given.vector_file is not None:
        arguments["vector_file"] = given.vector_file
    return await ctx.call("cloning.design_oligos", arguments)


async def _primers(
    ctx: RoleContext,
    given: KnockoutInput,
    state: RunState,
    found: JSON,
    cuts: Mapping[str, int],
) -> list[JSON]:
    """Pairs for the guides that have one: one product in the searched files together.

    A genome that holds the own locus is searched by itself, and has its one product there.
    """
    together, *own = search_groups(state["material"]["searched"], found["own_loci"])
    arguments = {
        "file": given.record,
        "targets": [{"id": guide, "cut": cut} for guide, cut in cuts.items()],
        "background_files": [one["file"] for one in together if one["role"] == "background"],
        "own_locus_files": [one["file"] for [one] in own],
    }
    try:
        answer = await ctx.call("cloning.design_primers", arguments)
    except AppError as error:
        if error.code is not Code.NO_PRIMERS:
            raise
        return []
    pairs: list[JSON] = answer["pairs"]
    return pairs
