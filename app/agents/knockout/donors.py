"""Donors for repair by homology, for a researcher who asks for them, and their check."""

from app.agents.knockout.inputs import KnockoutInput
from app.agents.types import JSON, Check, CheckStatus, RoleContext, RunState

ARM = 60
TOOLS = ("crispr.hdr_template", "verify.check_donors")
_SHOWN = (
    "left_arm", "right_arm", "sequence", "strand", "start", "end", "phase", "blocked_by",
    "changes", "altered_site", "recut_cfd", "note",
)  # fmt: skip


async def design(
    ctx: RoleContext, given: KnockoutInput, state: RunState, guides: list[JSON]
) -> list[JSON]:
    """A row {id, donor, reason} per guide; no donor where the record ends within an arm."""
    rows: list[JSON] = []
    for guide in guides:
        if not ARM <= guide["cut"] <= state["plan"]["facts"]["record"]["length"] - ARM:
            reason = f"the record ends within {ARM} bases of the cut"
            rows.append({"id": guide["id"], "donor": None, "reason": reason})
            continue
        keys = ("cut", "strand", "spacer", "pam")
        arguments = {**_gene(given, state), **{key: guide[key] for key in keys}, "arm": ARM}
        answer = await ctx.call("crispr.hdr_template", arguments)
        donor = {key: answer[key] for key in _SHOWN}
        rows.append({"id": guide["id"], "donor": donor, "reason": None})
    return rows


def _gene(given: KnockoutInput, state: RunState) -> JSON:
    arguments: JSON = {"file": given.record, "gene": state["plan"]["facts"]["gene"]}
    if given.location is not None:
        arguments["location"] = given.location
    return arguments


async def check(
    ctx: RoleContext, given: KnockoutInput, state: RunState, guides: list[JSON]
) -> list[Check]:
    """One check of all donors, or none where there are none."""
    rows = {row["id"]: row["donor"] for row in state["draft"].get("donors") or [] if row["donor"]}
    if not rows:
        return []
    places = {one["id"]: {"cut": one["cut"], "spacer": one["spacer"]} for one in guides}
    keys = ("left_arm", "right_arm", "sequence", "strand", "start", "end", "changes")
    claims = [
        {"id": guide, "insert": "", **places[guide], **{key: donor[key] for key in keys}}
        for guide, donor in rows.items()
    ]
    arguments = {**_gene(given, state), "donors": claims}
    answer = await ctx.call("verify.check_donors", arguments)
    bad = {row["id"]: row["reason"] for row in answer["checks"] if not row["ok"]}
    statement = (
        "Each donor is the record but for the changes it names; they keep the protein and leave "
        "the guide no site."
    )
    figures: JSON = {guide: {"changes": len(donor["changes"])} for guide, donor in rows.items()}
    reason = "; ".join(f"{guide}: {why}" for guide, why in bad.items()) or None
    status: CheckStatus = "failed" if bad else "passed"
    return [Check("donors_agree", status, statement, figures, reason, list(bad))]
