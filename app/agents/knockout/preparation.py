"""Planner and retriever of the knockout: what is cut, and which sequences are searched."""

from app.agents.knockout.inputs import KnockoutInput
from app.agents.types import JSON, Material, Plan, RoleContext, RunState
from app.kernel.errors import AppError, Code

# Any spacer does: the call reads, checks and describes the genome, and its index stays warm.
_SURVEY_SPACER = "GATTACAGATTACAGATTAC"


async def plan(ctx: RoleContext, task_input: JSON) -> Plan:
    """Read the record and settle on the gene; every kind of bad input ends here."""
    given = KnockoutInput.model_validate(task_input)
    record = await ctx.call("sequence.parse_record", _record_arguments(given, given.gene))
    if record["target"] is None:
        record = await _only_gene(ctx, given, record)
    target = record["target"]
    gene = given.gene or target["gene"]
    steps = _steps(given, gene)
    facts = {
        "gene": gene,
        "record": {key: record[key] for key in _RECORD_FACTS},
        "target": target,
    }
    exons = len(target["exons"])
    summary = f"Knock out {gene} in {record['id']}: {exons} coding exons, {_strand(target)} strand."
    return Plan(summary, steps, facts)


_RECORD_FACTS = ("id", "description", "length", "sequence_sha256", "format")


def _record_arguments(given: KnockoutInput, gene: str | None) -> JSON:
    arguments: JSON = {"file": given.record}
    if gene is not None:
        arguments["gene"] = gene
    if given.location is not None:
        arguments["location"] = given.location
    if given.variants:
        arguments["variants"] = given.variants
    return arguments


async def _only_gene(ctx: RoleContext, given: KnockoutInput, record: JSON) -> JSON:
    """The record read again for its one gene."""
    genes = record["genes"]
    if len(genes) == 1:
        return await ctx.call("sequence.parse_record", _record_arguments(given, genes[0]))
    if not genes:
        raise AppError(
            Code.NO_CODING_SEQUENCE,
            f"The record {record['id']} names no coding sequence.",
            hint="Give `location`, 1-based in GenBank syntax: join(101..250,400..620).",
        )
    raise AppError(
        Code.INVALID_INPUT,
        f"The record {record['id']} has {len(genes)} genes; name the one to knock out.",
        hint="Give `gene`, one of: " + ", ".join(sorted(genes)[:50]) + ".",
        details={"pointer": "/gene"},
    )


def _strand(target: JSON) -> str:
    return "forward" if target["strand"] == "+" else "reverse"


def _steps(given: KnockoutInput, gene: str) -> list[str]:
    counting = (
        f"4. Count off-targets with up to {given.max_mismatches} mismatches at "
        f"{', '.join(given.off_target_pams)}."
    )
    return [
        f"1. Read what is searched: the record, and {len(given.backgrounds)} background file(s).",
        f"2. Enumerate {given.pam} guides that cut the coding sequence of {gene}.",
        "3. Score them by Rule Set 3 and CRISPRscan, side by side.",
        counting,
        f"5. Choose {given.guides}, and design oligos for {given.vector} and primers.",
        "6. Check all of it by another road; refuse what does not agree.",
        "7. Write the report.",
    ]


async def retrieve(ctx: RoleContext, state: RunState) -> Material:
    """Read every sequence that is searched; say which, and what cannot be known."""
    given = KnockoutInput.model_validate(state["input"])
    searched: list[JSON] = []
    notes: list[str] = []
    for number, file in enumerate(given.genomes):
        await ctx.progress(number, len(given.genomes), "Reading the sequences to be searched")
        entry = {**_place(number), **await _survey(ctx, file, given)}
        twin = next((one for one in searched if one["sha256"] == entry["sha256"]), None)
        if twin is None:
            searched.append(entry)
        else:
            notes.append(f"{entry['name']} has the same bytes as {twin['name']}: searched once.")
    await ctx.progress(len(given.genomes), len(given.genomes), "All sequences are read")
    limits = limits_of(state["plan"]["facts"]["record"]["id"], searched, len(given.variants))
    bases = sum(entry["bases"] for entry in searched)
    summary = f"Will search {bases:,} bases in {len(searched)} file(s). {limits[0]}"
    facts: JSON = {"searched": searched, "limits": limits, "notes": notes}
    if given.vector_file is not None:
        facts["vector_sha256"] = (await _survey(ctx, given.vector_file, given))["sha256"]
    return Material(summary, facts)


def _place(number: int) -> JSON:
    """Names of ours, the same in every run; file ids change with every upload."""
    if number == 0:
        return {"name": "record", "role": "record"}
    return {"name": f"background {number}", "role": "background"}


async def _survey(ctx: RoleContext, file: str, given: KnockoutInput) -> JSON:
    """What the file holds; `served_as` is what the tools call it.

    The PAMs are those of the scan to come, so that the index is built once.
    """
    found = await ctx.call(
        "crispr.find_off_targets",
        {
            "spacers": [_SURVEY_SPACER],
            "genomes": [file],
            "max_mismatches": 0,
            "pams": given.off_target_pams,
            "sites_per_guide": 0,
        },
    )
    [genome] = found["searched"]
    facts = {key: genome[key] for key in ("sha256", "contigs", "bases")}
    return {"file": file, "served_as": genome["name"], **facts}


def limits_of(record_id: str, searched: list[JSON], variants: int) -> list[str]:
    """What a search of these sequences cannot know, in sentences."""
    backgrounds = [entry for entry in searched if entry["role"] == "background"]
    if backgrounds:
        sizes = ", ".join(f"{one['bases']:,} bases" for one in backgrounds)
        first = (
            f"Off-targets were searched in {record_id} and {len(backgrounds)} background file(s): "
            f"{sizes}. Any other sequence of the organism is unknown to this search."
        )
    else:
        first = (
            f"Off-targets were searched in the record {record_id} alone, as no background genome "
            "was given. Off-targets in the rest of the genome are unknown: before ordering, run "
            "the task again with the whole genome as a background."
        )
    known = f"but for the {variants} variant(s) given, " if variants else ""
    return [
        first,
        "Sites with a bulge (an extra or a missing base) are not searched.",
        f"The sequence is taken as given: {known}variants of the cell line or patient are unknown.",
        "Scores predict; none of them was measured on these guides.",
    ]
