"""The coder of the knockout: from the gene to chosen guides, oligos and primers."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

from app.agents.knockout import donors, off_target_sites
from app.agents.knockout.candidates import gather
from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.orders import settle
from app.agents.knockout.ranking import Policy, specificity_refusals
from app.agents.types import JSON, Draft, Refusal, RoleContext, RunState
from app.kernel.errors import Code

_REFUSED = "refused_by_evaluator"


async def compute(ctx: RoleContext, state: RunState, refusals: Sequence[Refusal]) -> Draft:
    """One try. What the evaluator refused is left out, and what was counted is kept."""
    given = KnockoutInput.model_validate(state["input"])
    policy = cast(Policy, ctx.policy)
    found: JSON = state["draft"]["found"] if "draft" in state else await gather(ctx, given, state)
    excluded = {one: [_REFUSED] for refusal in refusals for one in refusal.exclude}
    order = await settle(ctx, given, state, found, excluded, policy)
    draft: JSON = {"policy": policy, "found": found, "excluded": excluded, **order._asdict()}
    if not order.chosen:
        return _none(found["candidates"], draft)
    by_id = {one["id"]: one for one in found["candidates"]}
    guides = [by_id[guide] for guide in order.chosen]
    await ctx.progress(4, 5, "Designing primers for off-targets, predicting the repair outcome")
    draft["off_target_primers"] = await off_target_sites.design(
        ctx, state, found, order.chosen, excluded
    )
    draft["frameshift"] = await _frameshift(ctx, given, guides)
    draft["donors"] = await donors.design(ctx, given, state, guides) if given.hdr else None
    await ctx.progress(5, 5, f"{len(guides)} guides chosen")
    listed = ", ".join(f"{guide['id']} {guide['spacer']}" for guide in guides)
    return Draft(f"Chose {len(guides)} of {len(found['candidates'])} ({policy}): {listed}.", draft)


def refusals_of(candidate: JSON, draft: JSON) -> list[str]:
    """Every reason against a candidate, in the policy of the draft."""
    reasons: list[str] = list(candidate["refused_because"])
    if draft["policy"] == "specific":
        reasons += specificity_refusals(candidate)
    reasons += draft["excluded"].get(candidate["id"], [])
    return reasons


async def _frameshift(ctx: RoleContext, given: KnockoutInput, guides: list[JSON]) -> list[JSON]:
    """Out-of-frame scores of the chosen guides."""
    rows: list[JSON] = []
    for guide in guides:
        asked = {"file": given.record, "cut": guide["cut"]}
        answer = await ctx.call("crispr.predict_frameshift", asked)
        scores = {key: answer[key] for key in ("out_of_frame_score", "microhomology_score")}
        rows.append({"id": guide["id"], **scores})
    return rows


def _none(candidates: list[JSON], draft: JSON) -> Draft:
    """No guide is left: say how many each rule refused."""
    counts = Counter(code for item in candidates for code in refusals_of(item, draft))
    listed = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
    message = (
        f"None of the {len(candidates)} guides that cut the coding sequence passes every rule "
        f"({listed or 'none was enumerated'}; a guide may break several)."
    )
    hint = "See details.refused: a wider window, another gene model or another nuclease may help."
    impossible: JSON = {"code": Code.NO_GUIDE.value, "message": message, "hint": hint}
    impossible["refused"] = dict(sorted(counts.items()))
    return Draft(message, draft, impossible)
