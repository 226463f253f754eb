"""The evaluator's rules: pure functions from figures to checks, none weighed against another."""

from collections.abc import Iterable, Mapping, Sequence

from app.agents.types import JSON, Check


def guides_located(answer: JSON) -> Check:
    """Every chosen guide lies in the record where it is said to, next to its PAM."""
    bad = [row for row in answer["checks"] if not row["ok"]]
    return _check(
        "guides_located",
        "Each guide is found again in the record by plain text search: place, strand, PAM, cut.",
        {"found": len(answer["checks"]) - len(bad), "of": len(answer["checks"])},
        [(row["id"], row["reason"]) for row in bad],
    )


def no_close_off_target(guides: Sequence[JSON], recounted: Mapping[str, JSON]) -> Check:
    """No chosen guide has a perfect or one-mismatch NGG site elsewhere in what was searched."""
    figures: JSON = {}
    bad: list[tuple[str, str]] = []
    for guide in guides:
        perfect, one = recounted[guide["spacer"]]["counts_by_pam"]["NGG"][:2]
        figures[guide["id"]] = {"perfect": perfect, "one_mismatch": one}
        if perfect or one:
            where = f"{_many(perfect, 'perfect site')} and {_many(one, 'one-mismatch site')}"
            bad.append((guide["id"], f"{where} elsewhere{_worst(guide)}"))
    statement = (
        "A brute-force recount finds no perfect and no one-mismatch NGG site of a chosen guide "
        "elsewhere in the searched sequences."
    )
    return _check("no_close_off_target", statement, figures, bad)


def counts_equal(guides: Sequence[JSON], recounted: Mapping[str, JSON]) -> Check:
    """The recount gives the coder's own counts, for each PAM and number of mismatches."""
    figures: JSON = {}
    bad: list[tuple[str, str]] = []
    for guide in guides:
        again = recounted[guide["spacer"]]["counts_by_pam"]
        first = guide["off_targets"]["counts_by_pam"]
        figures[guide["id"]] = {"coder": first, "recount": again}
        if first != again:
            bad.append((guide["id"], f"counted {first}, recounted {again}"))
    statement = "The brute-force recount equals the scan's counts for each PAM and mismatch number."
    return _check("counts_equal", statement, figures, bad)


def oligos_assemble(ids: Mapping[str, str], answer: JSON) -> Check:
    """The ordered oligos give one plasmid with the guide in place and the sites gone."""
    bad = [
        (ids[row["spacer"]], row["reason"])
        for row in answer["checks"]
        if not (row["ok"] and row["insert_in_place"] and row["site_destroyed"])
    ]
    figures: JSON = {"verified_on": answer["verified_on"]}
    for row in answer["checks"]:
        figures[ids[row["spacer"]]] = {key: row[key] for key in ("product_length", "digest")}
    statement = (
        "Each oligo pair, annealed and ligated in silico, gives one product with promoter, guide "
        "and scaffold in a row, which the cloning enzyme no longer cuts."
    )
    return _check("oligos_assemble", statement, figures, bad)


def primers_unique(
    guides: Iterable[str],
    pairs: Sequence[JSON],
    answers: Sequence[JSON],
    homes: Mapping[str, int],
) -> Check:
    """Each pair has one product of the said size; `answers` has one entry per group of files.

    A chosen guide must have a pair, with its product in every group. A pair of an off-target
    place, which `homes` puts into a group, may have no product in another one.
    """
    figures: JSON = {pair["id"]: {"product_size": pair["product_size"]} for pair in pairs}
    bad = [(guide, "has no primer pair") for guide in guides if guide not in figures]
    for group, answer in enumerate(answers):
        for row in answer["checks"]:
            products = figures.setdefault(row["id"], {}).setdefault("products", [])
            products.append(row["product_count"])
            is_elsewhere = homes.get(row["id"], group) != group
            if not row["ok"] and not (is_elsewhere and row["product_count"] == 0):
                bad.append((row["id"], row["reason"]))
    statement = (
        "Each primer pair, those of off-target sites too, amplifies exactly once, with the said "
        "size, by exact in-silico PCR on both strands of the searched sequences."
    )
    return _check("primers_unique", statement, figures, bad)


def none_refused(refused: Mapping[str, list[str]]) -> Check:
    """No chosen guide breaks a rule of its own enumeration."""
    bad = [(guide, ", ".join(codes)) for guide, codes in refused.items() if codes]
    statement = "No chosen guide has a reason against it."
    return _check("none_refused", statement, {"chosen": len(refused)}, bad)


def enough_guides(chosen: int, asked: int) -> Check:
    """At least two guides, or the one asked for: a single guide leaves nothing to compare with."""
    need = min(asked, 2)
    figures: JSON = {"chosen": chosen, "asked": asked, "needed": need}
    statement = "At least two guides were chosen, or one where one was asked for."
    if chosen >= need:
        return Check("enough_guides", "passed", statement, figures)
    reason = f"only {_many(chosen, 'guide')} of {asked} could be chosen; ask for one to accept it"
    return Check("enough_guides", "failed", statement, figures, reason)


def _check(name: str, statement: str, figures: JSON, bad: Sequence[tuple[str, str]]) -> Check:
    if not bad:
        return Check(name, "passed", statement, figures)
    reason = "; ".join(f"{guide}: {why}" for guide, why in bad)
    guilty = list(dict.fromkeys(guide for guide, _ in bad))
    return Check(name, "failed", statement, figures, reason, guilty)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _worst(guide: JSON) -> str:
    """Where the worst of them is, in words, 1-based."""
    for site in guide["off_targets"]["worst_sites"]:
        if site["mismatches"] <= 1 and site["pam"].endswith("GG"):
            return f" ({site['contig']}:{site['start'] + 1}, strand {site['strand']})"
    return ""
