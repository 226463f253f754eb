"""Recognises the target's own locus in a background genome.

A whole genome holds the gene itself, so every guide has a perfect site there that is no off-target.
A place counts as the own locus only if EVERY guide enumerated has a perfect NGG site at the same
distances as in the record, on one contig: a paralog that differs anywhere in a guide is never
taken for it. The report names each locus recognised this way.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from app.agents.types import JSON

MIN_GUIDES = 5
_Place = tuple[str, str, str, int]  # genome, contig, strand of the record there, anchor


def own_loci(candidates: Sequence[JSON], sites: Mapping[str, list[JSON]], home: str) -> list[JSON]:
    """One locus per background genome at most; `sites` are by spacer, `home` is the record's name.

    Each locus lists its `sites` {spacer, contig, start, strand}, to be passed as on-targets, and
    the `anchor` from which `image` counts.
    """
    found: dict[_Place, dict[str, JSON]] = defaultdict(dict)
    for guide in candidates:
        for site in sites.get(guide["spacer"], []):
            if site["genome"] != home and site["mismatches"] == 0 and site["pam"][1:] == "GG":
                found[_place(guide, site)][guide["id"]] = site
    loci: dict[str, JSON] = {}
    for place in sorted(found):
        if len(found[place]) == len(candidates) >= MIN_GUIDES and place[0] not in loci:
            loci[place[0]] = _locus(place, candidates, found[place])
    return list(loci.values())


def image(site: JSON, locus: JSON) -> tuple[str, int, str]:
    """(contig, start, strand) of a site of the record, as it lies in a locus of the record."""
    turned = {"+": "-", "-": "+"}
    if locus["strand"] == "+":
        return locus["contig"], locus["anchor"] + site["start"], site["strand"]
    return locus["contig"], locus["anchor"] - site["start"], turned[site["strand"]]


def search_groups(searched: Sequence[JSON], loci: Sequence[JSON]) -> list[list[JSON]]:
    """The files in which a product must be unique: each genome with the own locus by itself.

    There the pair has a product of its own; the record and all other files are one group.
    """
    own = {locus["genome"] for locus in loci}
    together = [one for one in searched if one["name"] not in own]
    return [together, *([one] for one in searched if one["name"] in own)]


def _place(guide: JSON, site: JSON) -> _Place:
    """The anchor is the same for all guides whose sites are colinear with the record."""
    is_forward = guide["strand"] == site["strand"]
    anchor = site["start"] - guide["start"] if is_forward else site["start"] + guide["start"]
    return site["genome"], site["contig"], "+" if is_forward else "-", anchor


def _locus(place: _Place, candidates: Sequence[JSON], sites: Mapping[str, JSON]) -> JSON:
    genome, contig, strand, anchor = place
    first: dict[str, JSON] = {}
    for guide in candidates:
        site = sites[guide["id"]]
        entry = {"contig": contig, "start": site["start"], "strand": site["strand"]}
        first.setdefault(guide["spacer"], {"spacer": guide["spacer"], **entry})
    return {
        "genome": genome,
        "contig": contig,
        "strand": strand,
        "anchor": anchor,
        "guides": len(sites),
        "sites": list(first.values()),
    }
