"""The map and the annotated record, from the tools that make them."""

from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.ranking import SCORE_NAMES, on_target_score
from app.agents.knockout.schema import Candidate, KnockoutReport
from app.agents.types import JSON, RoleContext


async def draw(ctx: RoleContext, data: KnockoutReport) -> JSON:
    """{svg, png_base64} of the gene with every candidate, and score against specificity."""
    score = on_target_score([one.model_dump() for one in data.candidates])
    return await ctx.call(
        "crispr.draw_map",
        {
            "record_length": data.target.record_length,
            "gene": data.target.gene,
            "strand": data.target.strand,
            "exons": [exon.model_dump(mode="json") for exon in data.target.exons],
            "guides": [_tick(one, data.chosen, score) for one in data.candidates],
            "score_name": SCORE_NAMES[score],
        },
    )


def _tick(one: Candidate, chosen: list[str], score: str) -> JSON:
    is_chosen = one.id in chosen
    perfect = one.off_targets.counts_by_pam["NGG"][0] if one.off_targets else 0
    return {
        "id": one.id,
        "cut": one.cut,
        "strand": one.strand,
        "label": f"{chosen.index(one.id) + 1}. {one.id}" if is_chosen else one.id,
        "chosen": is_chosen,
        "on_target_score": getattr(one.scores, score),
        "specificity": one.scores.cfd_specificity,
        "perfect_off_targets": perfect,
    }


async def annotate(ctx: RoleContext, given: KnockoutInput, data: KnockoutReport) -> str:
    """The record as GenBank text with the chosen guides and their primers."""
    by_id = {one.id: one for one in data.candidates}
    guide_keys = {"id", "spacer", "pam", "strand", "start", "end", "cut"}
    primer_keys = {"id", "left", "right", "left_start", "right_end"}
    arguments: JSON = {
        "file": given.record,
        "gene": data.target.gene,
        "guides": [by_id[one].model_dump(include=guide_keys) for one in data.chosen],
        "primers": [pair.model_dump(include=primer_keys) for pair in data.primers],
    }
    if given.location is not None:
        arguments["location"] = given.location
    answer = await ctx.call("cloning.annotate_record", arguments)
    genbank: str = answer["genbank"]
    return genbank
