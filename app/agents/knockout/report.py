"""The reporter of the knockout: the report's data, and every file made from it.

Same input, same bytes: keys are sorted, figures rounded, and times go to provenance.json alone.
"""

import base64
import json

from app.agents.knockout import markdown, sheets
from app.agents.knockout.design import refusals_of
from app.agents.knockout.drawing import annotate, draw
from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.provenance import provenance_of
from app.agents.knockout.schema import KnockoutReport
from app.agents.types import JSON, RenderedFile, Report, RoleContext, RunState

VERSION = 1
_DIGITS = 6


async def report(ctx: RoleContext, state: RunState) -> Report:
    """Draw, annotate and write the files."""
    given = KnockoutInput.model_validate(state["input"])
    data = build(given, state, VERSION)
    await ctx.progress(0, 2, "Drawing the map")
    picture = await draw(ctx, data)
    await ctx.progress(1, 2, "Annotating the record")
    genbank = await annotate(ctx, given, data)
    began = ctx.run.job.start_time
    times = {
        "started_at": began.isoformat() if began else None,
        "finished_at": ctx.clock.now().isoformat(),
    }
    files = [
        *documents(data, times),
        RenderedFile("map.svg", "image/svg+xml", picture["svg"].encode()),
        RenderedFile("map.png", "image/png", base64.b64decode(picture["png_base64"])),
        RenderedFile("knockout.gb", "text/plain; charset=utf-8", genbank.encode()),
    ]
    await ctx.progress(2, 2, f"{len(files)} files written")
    return Report(f"Wrote {len(files)} files.", short_answer(data), files)


def build(given: KnockoutInput, state: RunState, version: int) -> KnockoutReport:
    """The report's data from the state; nothing in it depends on time or on the order of keys."""
    draft, facts = state["draft"], state["plan"]["facts"]
    found, material = draft["found"], state["material"]
    made = {
        "schema_version": 1,
        "task": "crispr_knockout",
        "verdict": "passed",
        "target": {**_target(facts), "transcripts": found["transcripts"]},
        "chosen": draft["chosen"],
        "candidates": [_candidate(one, draft) for one in found["candidates"]],
        "oligos": draft["oligos"],
        "primers": [_pair(one) for one in draft["primers"]],
        "off_target_primers": [_off_target(place) for place in draft["off_target_primers"]],
        "donors": draft["donors"],
        "frameshift": draft["frameshift"],
        "checks": [_check(one) for one in state["checks"]],
        "refusals": state.get("refusals", []),
        "searched": _searched(material["searched"], found["searched"]),
        "own_loci": [_without(locus, "anchor") for locus in found["own_loci"]],
        "limits": material["limits"],
        "notes": [*material["notes"], *_notes(given, state)],
        "provenance": provenance_of(given, state, version),
    }
    return KnockoutReport.model_validate(_rounded(made))


def _target(facts: JSON) -> JSON:
    record, target = facts["record"], facts["target"]
    keys = ("strand", "exons", "cds_length", "protein_length", "product", "protein_id", "note")
    return {
        "record_id": record["id"],
        "description": record["description"],
        "record_length": record["length"],
        "gene": facts["gene"],
        **{key: target[key] for key in keys},
    }


def _candidate(one: JSON, draft: JSON) -> JSON:
    return {**_without(one, "context"), "refused_because": refusals_of(one, draft)}


def _without(part: JSON, *keys: str) -> JSON:
    return {key: value for key, value in part.items() if key not in keys}


def _off_target(place: JSON) -> JSON:
    return {**place, "pair": place["pair"] and _without(place["pair"], "id")}


def _pair(pair: JSON) -> JSON:
    keys = ("id", "left", "right", "left_tm", "right_tm", "left_start", "right_end")
    ngs = pair["ngs"]
    short = ngs and {key: ngs[key] for key in ("left", "right", "product_size")}
    shown = {key: pair[key] for key in (*keys, "product_size", "fragments")}
    return {**shown, "ngs": short}


def _check(check: JSON) -> JSON:
    return {key: check[key] for key in ("name", "status", "statement", "figures", "reason")}


def _searched(surveyed: list[JSON], scanned: list[JSON]) -> list[JSON]:
    sites = {one["sha256"]: one["pam_sites"] for one in scanned}
    keys = ("name", "role", "sha256", "contigs", "bases")
    return [
        {**{key: one[key] for key in keys}, "pam_sites": sites.get(one["sha256"])}
        for one in surveyed
    ]


def _notes(given: KnockoutInput, state: RunState) -> list[str]:
    """What the reader must know and might not look for."""
    draft = state["draft"]
    notes = [
        f"{model['name']} was not available: {model['reason']}. Its scores are null."
        for model in draft["found"]["models"]
        if not model["available"]
    ]
    if state["plan"]["facts"]["target"]["note"]:
        notes.append(state["plan"]["facts"]["target"]["note"])
    if len(draft["chosen"]) < given.guides:
        notes.append(
            f"{given.guides} guides were asked for, {len(draft['chosen'])} pass all rules."
        )
    notes += [
        f"The check {check['name']} could not run: {check['reason']}"
        for check in state["checks"]
        if check["status"] == "not_run"
    ]
    return [*notes, f"Oligos were designed on: {draft['vector']['checked_on']}."]


def documents(data: KnockoutReport, times: JSON) -> list[RenderedFile]:
    """The files made from the data alone."""
    csv = "text/csv; charset=utf-8"
    made = {**data.provenance.model_dump(mode="json"), **times}
    made["searched"] = [one.model_dump(mode="json") for one in data.searched]
    return [
        RenderedFile("report.md", "text/markdown; charset=utf-8", markdown.render(data)),
        RenderedFile("report.json", "application/json", as_json(data.model_dump(mode="json"))),
        RenderedFile("guides.csv", csv, sheets.guides_csv(data)),
        RenderedFile("oligos.csv", csv, sheets.oligos_csv(data)),
        RenderedFile("off_targets.csv", csv, sheets.off_targets_csv(data)),
        RenderedFile("provenance.json", "application/json", as_json(made)),
    ]


def short_answer(data: KnockoutReport) -> JSON:
    """What the job itself answers; the files hold the rest."""
    by_id = {one.id: one for one in data.candidates}
    chosen = [
        {
            "id": guide,
            "spacer": by_id[guide].spacer,
            "pam": by_id[guide].pam,
            "strand": by_id[guide].strand,
            "cut": by_id[guide].cut,
            "exon": by_id[guide].exon,
        }
        for guide in data.chosen
    ]
    checks = {one.name: one.status for one in data.checks}
    return {
        "verdict": data.verdict,
        "gene": data.target.gene,
        "record": data.target.record_id,
        "candidates": len(data.candidates),
        "chosen": chosen,
        "checks": checks,
        "refusals": len(data.refusals),
        "limits": data.limits[0],
    }


def as_json(value: object) -> bytes:
    """JSON for files: sorted keys, two spaces, a final line feed."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _rounded(value: object) -> object:
    """Floats to six digits, so that the last bits of a sum do not reach the files."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
