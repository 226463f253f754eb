"""The coder of the knockout: from the gene to chosen guides, oligos and primers."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

from app.agents.knockout.candidates import gather
from app.agents.knockout.flanks import bases_around
from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.ranking import Policy, choose, specificity_refusals
from app.agents.types import JSON, Draft, Refusal, RoleContext, RunState
from app.kernel.errors import AppError, Code

_PRIMER_ROUNDS = 3
_REFUSED, _NO_PRIMERS = "refused_by_evaluator", "no_primers"


async def compute(ctx: RoleContext, state: RunState, refusals: Sequence[Refusal]) -> Draft:
    """One try. What the evaluator refused is left out, and what was counted is kept."""
    given = KnockoutInput.model_validate(state["input"])
    policy = cast(Policy, ctx.policy)
    found: JSON = state["draft"]["found"] if "draft" in state else await gather(ctx, given, state)
    excluded: dict[str, list[str]] = {}
    for refusal in refusals:
        for guide in refusal.exclude:
            excluded[guide] = [_REFUSED]
    chosen, pairs = await _with_primers(ctx, given, state, found, policy, excluded)
    draft: JSON = {
        "policy": policy,
        "found": found,
        "excluded": excluded,
        "chosen": chosen,
        "primers": pairs,
    }
    if not chosen:
        return _none(found["candidates"], draft)
    await ctx.progress(4, 5, "Designing oligos and predicting the repair outcome")
    draft["oligos"], draft["vector"] = await _oligos(ctx, given, found, chosen)
    gene = state["plan"]["facts"]["gene"]
    draft["frameshift"] = await _frameshift(ctx, given, gene, found, chosen)
    await ctx.progress(5, 5, f"{len(chosen)} guides chosen")
    listed = ", ".join(f"{guide} {_by_id(found, guide)['spacer']}" for guide in chosen)
    return Draft(f"Chose {len(chosen)} of {len(found['candidates'])} ({policy}): {listed}.", draft)


def refusals_of(candidate: JSON, draft: JSON) -> list[str]:
    """Every reason against a candidate, in the policy of the draft."""
    reasons: list[str] = list(candidate["refused_because"])
    if draft["policy"] == "specific":
        reasons += specificity_refusals(candidate)
    reasons += draft["excluded"].get(candidate["id"], [])
    return reasons


def _by_id(found: JSON, guide: str) -> JSON:
    return next(item for item in found["candidates"] if item["id"] == guide)


async def _with_primers(
    ctx: RoleContext,
    given: KnockoutInput,
    state: RunState,
    found: JSON,
    policy: Policy,
    excluded: dict[str, list[str]],
) -> tuple[list[str], list[JSON]]:
    """Choose guides, and again without those that no primer pair can show, up to three times."""
    await ctx.progress(3, 5, "Choosing guides and designing primers")
    chosen = choose(found["candidates"], given.guides, policy, exclude=excluded)
    for _ in range(_PRIMER_ROUNDS):
        pairs = await _primers(ctx, given, state, found, chosen) if chosen else []
        missing = set(chosen) - {pair["id"] for pair in pairs}
        if not missing:
            return chosen, pairs
        excluded.update({guide: [_NO_PRIMERS] for guide in missing})
        chosen = choose(found["candidates"], given.guides, policy, exclude=excluded)
    pairs = await _primers(ctx, given, state, found, chosen) if chosen else []
    with_pair = {pair["id"] for pair in pairs}
    return [guide for guide in chosen if guide in with_pair], pairs


async def _primers(
    ctx: RoleContext, given: KnockoutInput, state: RunState, found: JSON, chosen: list[str]
) -> list[JSON]:
    """Pairs for the guides that have one. A genome that holds the own locus is left to the check.

    There the pair has its one product in the locus itself, and not a second one in the record.
    """
    own = {locus["genome"] for locus in found["own_loci"]}
    others = [
        one["file"]
        for one in state["material"]["searched"]
        if one["role"] == "background" and one["name"] not in own
    ]
    arguments = {
        "file": given.record,
        "targets": [{"id": guide, "cut": _by_id(found, guide)["cut"]} for guide in chosen],
        "background_files": others,
    }
    try:
        answer = await ctx.call("cloning.design_primers", arguments)
    except AppError as error:
        if error.code is not Code.NO_PRIMERS:
            raise
        return []
    pairs: list[JSON] = answer["pairs"]
    return pairs


async def _oligos(
    ctx: RoleContext, given: KnockoutInput, found: JSON, chosen: list[str]
) -> tuple[list[JSON], JSON]:
    arguments: JSON = {
        "spacers": [_by_id(found, guide)["spacer"] for guide in chosen],
        "vector": given.vector,
    }
    if given.vector_file is not None:
        arguments["vector_file"] = given.vector_file
    answer = await ctx.call("cloning.design_oligos", arguments)
    keys = ("spacer", "top", "bottom", "g_added")
    oligos = [
        {"id": guide, **{key: oligo[key] for key in keys}}
        for guide, oligo in zip(chosen, answer["oligos"], strict=True)
    ]
    return oligos, {key: answer[key] for key in ("vector", "enzyme", "source", "checked_on")}


async def _frameshift(
    ctx: RoleContext, given: KnockoutInput, gene: str, found: JSON, chosen: list[str]
) -> list[JSON]:
    """Out-of-frame scores of the chosen guides, from 30 bases on each side of each cut."""
    arguments: JSON = {"file": given.record, "gene": gene}
    if given.location is not None:
        arguments["location"] = given.location
    genbank = (await ctx.call("cloning.annotate_record", arguments))["genbank"]
    rows: list[JSON] = []
    for guide in chosen:
        sequence, cut = bases_around(genbank, _by_id(found, guide)["cut"])
        asked = {"sequence": sequence, "cut": cut}
        answer = await ctx.call("crispr.predict_frameshift", asked)
        scores = {key: answer[key] for key in ("out_of_frame_score", "microhomology_score")}
        rows.append({"id": guide, **scores})
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
