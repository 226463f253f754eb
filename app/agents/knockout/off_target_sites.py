"""The places the chosen guides are likeliest to cut by mistake, and primers to look there.

They are an offer to the bench, not a part of the verdict: a place without a pair says why.
"""

from collections.abc import Collection, Iterable

from app.agents.knockout.loci import image, search_groups
from app.agents.types import JSON, RoleContext, RunState

MOST = 5
_CUT_FORWARD, _CUT_REVERSE = 17, 3
_REFUSED = "the evaluator found that its pair is not unique"


def worst_places(found: JSON, chosen: Iterable[str]) -> list[JSON]:
    """Up to five places {id, genome, contig, cut, cfd, mismatches, guides}, worst first by CFD.

    A place that several guides may cut is listed once, and so is one of the record that a genome
    with the own locus holds as well.
    """
    by_id = {one["id"]: one for one in found["candidates"]}
    places: dict[str, JSON] = {}
    for guide in chosen:
        counted = by_id[guide]["off_targets"]
        for site in _without_twins(counted["worst_sites"] if counted else [], found["own_loci"]):
            place = places.setdefault(_name(site), {**_place(site), "guides": []})
            place["guides"].append(guide)
            if site["cfd"] > place["cfd"]:
                place |= {"cfd": site["cfd"], "mismatches": site["mismatches"]}
    return sorted(places.values(), key=lambda place: (-place["cfd"], place["id"]))[:MOST]


def _without_twins(sites: list[JSON], loci: list[JSON]) -> list[JSON]:
    """The sites but for those of the record that lie in a genome's own locus as well."""
    elsewhere = {(one["genome"], one["contig"], one["start"], one["strand"]) for one in sites}
    return [
        site
        for site in sites
        if site["genome"] != "record"
        or not any((locus["genome"], *image(site, locus)) in elsewhere for locus in loci)
    ]


def _cut(site: JSON) -> int:
    cut: int = site["start"] + (_CUT_FORWARD if site["strand"] == "+" else _CUT_REVERSE)
    return cut


def _name(site: JSON) -> str:
    return f"{site['genome']}:{site['contig']}:{_cut(site)}"


def _place(site: JSON) -> JSON:
    keys = ("genome", "contig", "cfd", "mismatches")
    return {"id": _name(site), "cut": _cut(site), **{key: site[key] for key in keys}}


async def design(
    ctx: RoleContext,
    state: RunState,
    found: JSON,
    chosen: Iterable[str],
    excluded: Collection[str],
) -> list[JSON]:
    """The worst places, each with its `pair`, or with the `reason` why there is none."""
    places = worst_places(found, chosen)
    wanted = [place for place in places if place["id"] not in excluded]
    pairs: dict[str, JSON] = {}
    reasons = {place["id"]: _REFUSED for place in places if place["id"] in excluded}
    for group in search_groups(state["material"]["searched"], found["own_loci"]):
        for genome in group:
            here = [place for place in wanted if place["genome"] == genome["name"]]
            if here:
                answer = await ctx.call("cloning.design_site_primers", _asked(genome, group, here))
                pairs |= {pair["id"]: pair for pair in answer["pairs"]}
                reasons |= {one["id"]: one["reason"] for one in answer["failed"]}
    return [
        {**place, "pair": pairs.get(place["id"]), "reason": reasons.get(place["id"])}
        for place in places
    ]


def _asked(genome: JSON, group: list[JSON], places: list[JSON]) -> JSON:
    return {
        "genome": genome["file"],
        "sites": [{key: place[key] for key in ("id", "contig", "cut")} for place in places],
        "background_files": [one["file"] for one in group if one is not genome],
    }
