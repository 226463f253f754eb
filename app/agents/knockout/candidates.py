"""Every guide of the gene with its scores and off-targets, put together from the tools' answers."""

from typing import Any

from app.agents.knockout.inputs import ENZYMES, GC_MAX, GC_MIN, KnockoutInput
from app.agents.knockout.loci import own_loci
from app.agents.types import JSON, RoleContext, RunState

SITES_KEPT = 20
_BATCH = 250
_GUIDE = (
    "id",
    "spacer",
    "pam",
    "strand",
    "start",
    "end",
    "cut",
    "exon",
    "cds_offset",
    "cds_percent",
    "phase",
    "splice_distance",
    "transcripts_hit",
    "gc",
    "context",
    "refused_because",
)


async def gather(ctx: RoleContext, given: KnockoutInput, state: RunState) -> JSON:
    """{candidates, transcripts, models, searched, own_loci, on_target}, in order of cut."""
    await ctx.progress(0, 5, "Enumerating guides")
    enumerated = await ctx.call("crispr.enumerate_guides", _enumeration(given, state))
    guides = enumerated["guides"]
    await ctx.progress(1, 5, f"Scoring {len(guides)} guides")
    scored = await _score(ctx, given, guides)
    await ctx.progress(2, 5, f"Counting off-targets of {len(guides)} guides")
    counted = await _count(ctx, given, state, guides)
    scores = {row["id"]: row for row in scored["scores"]}
    off_targets = {row["spacer"]: row for row in counted.pop("guides")}
    candidates = [
        _candidate(guide, scores.get(guide["id"], {}), off_targets.get(guide["spacer"]))
        for guide in guides
    ]
    return {
        "candidates": candidates,
        "transcripts": enumerated["transcripts"],
        "models": scored["models"],
        **counted,
    }


def _enumeration(given: KnockoutInput, state: RunState) -> JSON:
    arguments: JSON = {
        "file": given.record,
        "gene": state["plan"]["facts"]["gene"],
        "pam": given.pam,
        "enzyme": ENZYMES[given.vector],
        "gc_min": GC_MIN,
        "gc_max": GC_MAX,
        "window_min": given.window_min,
        "window_max": given.window_max,
        "variants": given.variants,
    }
    if given.location is not None:
        arguments["location"] = given.location
    return arguments


async def _score(ctx: RoleContext, given: KnockoutInput, guides: list[JSON]) -> JSON:
    asked = [{"id": one["id"], "context": one["context"]} for one in guides if one["context"]]
    if not asked:
        return {"scores": [], "models": []}
    return await ctx.call("crispr.score_on_target", {"guides": asked, "tracr": given.tracr})


def home_sites(guides: list[JSON], record_id: str) -> list[JSON]:
    """Where each guide is meant to cut, as the off-target tools want it.

    A spacer that the gene holds twice has its first place only: the other one is a second cut.
    """
    first: dict[str, JSON] = {}
    for one in guides:
        place = {"contig": record_id, "start": one["start"], "strand": one["strand"]}
        first.setdefault(one["spacer"], {"spacer": one["spacer"], **place})
    return list(first.values())


async def _count(
    ctx: RoleContext, given: KnockoutInput, state: RunState, guides: list[JSON]
) -> JSON:
    """Off-targets of all guides; again if a background turns out to hold the target's own locus."""
    files = [one["file"] for one in state["material"]["searched"]]
    on_target = home_sites(guides, state["plan"]["facts"]["record"]["id"])
    names = {one["served_as"]: one["name"] for one in state["material"]["searched"]}
    counted = await _scan(ctx, given, files, guides, on_target, names)
    sites = {row["spacer"]: row["sites"] for row in counted["guides"]}
    loci = own_loci(guides, sites, home="record")
    if loci:
        on_target = on_target + [site for locus in loci for site in locus["sites"]]
        counted = await _scan(ctx, given, files, guides, on_target, names)
    keys = ("genome", "contig", "strand", "anchor", "guides")
    own = [{key: locus[key] for key in keys} for locus in loci]
    return {**counted, "own_loci": own, "on_target": on_target}


async def _scan(
    ctx: RoleContext,
    given: KnockoutInput,
    files: list[str],
    guides: list[JSON],
    on_target: list[JSON],
    names: dict[str, str],
) -> JSON:
    """One call per batch, so that a call stays within its time-out; genomes by our names."""
    rows: list[JSON] = []
    searched: list[JSON] = []
    spacers = list(dict.fromkeys(one["spacer"] for one in guides))
    for first in range(0, len(spacers), _BATCH):
        batch = spacers[first : first + _BATCH]
        answer = await ctx.call(
            "crispr.find_off_targets",
            {
                "spacers": batch,
                "genomes": files,
                "on_target": [site for site in on_target if site["spacer"] in set(batch)],
                "max_mismatches": given.max_mismatches,
                "pams": given.off_target_pams,
                "sites_per_guide": SITES_KEPT,
            },
        )
        rows += [{**row, "sites": _renamed(row["sites"], names)} for row in answer["guides"]]
        searched = answer["searched"]
    return {"guides": rows, "searched": searched}


def _renamed(sites: list[JSON], names: dict[str, str]) -> list[JSON]:
    return [{**site, "genome": names.get(site["genome"], site["genome"])} for site in sites]


def _candidate(guide: JSON, scores: JSON, counted: JSON | None) -> JSON:
    known: dict[str, Any] = counted or {}
    return {
        **{key: guide[key] for key in _GUIDE},
        "scores": {
            "rule_set_3": scores.get("rule_set_3"),
            "crisprscan": scores.get("crisprscan"),
            "cfd_specificity": known.get("cfd_specificity"),
            "mit_specificity": known.get("mit_specificity"),
        },
        "off_targets": counted
        and {
            "counts": counted["counts"],
            "counts_by_pam": counted["counts_by_pam"],
            "worst_sites": counted["sites"],
            "is_truncated": counted["truncated"],
        },
    }
