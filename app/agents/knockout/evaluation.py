"""The evaluator of the knockout: asks the other road for figures, hands them to the rules."""

from app.agents.knockout import checks, donors, isolated
from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.loci import search_groups
from app.agents.types import JSON, Check, RoleContext, RunState

_CLAIM = ("id", "spacer", "pam", "strand", "start", "end", "cut")


async def evaluate(ctx: RoleContext, state: RunState) -> list[Check]:
    """Every check of the draft. None is skipped because another one failed."""
    given = KnockoutInput.model_validate(state["input"])
    draft = state["draft"]
    by_id = {one["id"]: one for one in draft["found"]["candidates"]}
    guides = [by_id[guide] for guide in draft["chosen"]]
    located = await _locate(ctx, given, guides)
    recounted = await _recount(ctx, given, state, guides)
    alone = await isolated.recount(ctx, given.record, guides)
    assembled = await _assemble(ctx, given, draft)
    amplified, homes = await _amplify(ctx, state)
    ids = {oligo["spacer"]: oligo["id"] for oligo in draft["oligos"]}
    refused = {
        one["id"]: one["refused_because"] + draft["excluded"].get(one["id"], []) for one in guides
    }
    return [
        checks.enough_guides(len(guides), given.guides),
        checks.none_refused(refused),
        checks.guides_located(located),
        checks.no_close_off_target(guides, recounted),
        checks.counts_equal(guides, recounted),
        alone,
        checks.oligos_assemble(ids, assembled),
        checks.primers_unique(draft["chosen"], draft["primers"], amplified, homes),
        *await donors.check(ctx, given, state, guides),
    ]


async def _locate(ctx: RoleContext, given: KnockoutInput, guides: list[JSON]) -> JSON:
    await ctx.progress(0, 5, "Reading the guides back from the record")
    claims = [{key: one[key] for key in _CLAIM} for one in guides]
    return await ctx.call("verify.locate_guides", {"file": given.record, "guides": claims})


async def _recount(
    ctx: RoleContext, given: KnockoutInput, state: RunState, guides: list[JSON]
) -> dict[str, JSON]:
    """Off-targets of the chosen guides by brute force, by spacer."""
    await ctx.progress(1, 5, "Recounting off-targets by brute force")
    spacers = [one["spacer"] for one in guides]
    answer = await ctx.call(
        "verify.recount_off_targets",
        {
            "spacers": spacers,
            "genomes": [one["file"] for one in state["material"]["searched"]],
            "on_target": [
                site for site in state["draft"]["found"]["on_target"] if site["spacer"] in spacers
            ],
            "max_mismatches": given.max_mismatches,
            "pams": given.off_target_pams,
        },
    )
    return {row["spacer"]: row for row in answer["guides"]}


async def _assemble(ctx: RoleContext, given: KnockoutInput, draft: JSON) -> JSON:
    await ctx.progress(3, 5, "Assembling the oligos into the vector")
    keys = ("spacer", "top", "bottom")
    arguments: JSON = {
        "oligos": [{key: oligo[key] for key in keys} for oligo in draft["oligos"]],
        "vector": given.vector,
    }
    if given.vector_file is not None:
        arguments["vector_file"] = given.vector_file
    return await ctx.call("verify.assemble", arguments)


async def _amplify(ctx: RoleContext, state: RunState) -> tuple[list[JSON], dict[str, int]]:
    """The answers, one per group of files, and the group that holds each off-target place."""
    await ctx.progress(4, 5, "Amplifying the primers in silico")
    draft = state["draft"]
    groups = search_groups(state["material"]["searched"], draft["found"]["own_loci"])
    homes = {
        place["id"]: number
        for number, group in enumerate(groups)
        for place in draft["off_target_primers"]
        if place["pair"] and place["genome"] in {one["name"] for one in group}
    }
    keys = ("id", "left", "right", "product_size")
    designed = [
        *draft["primers"],
        *(place["pair"] for place in draft["off_target_primers"] if place["pair"]),
    ]
    pairs = [{key: pair[key] for key in keys} for pair in designed]
    if not pairs:
        return [], homes
    answers = [
        await ctx.call(
            "verify.amplify", {"genomes": [one["file"] for one in group], "pairs": pairs}
        )
        for group in groups
    ]
    return answers, homes
