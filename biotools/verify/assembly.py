"""Assembles the ordered oligos into the vector with pydna, and reads the product.

The oligos are annealed and ligated base by base: a wrong overhang, a mismatch or a site inside the
guide ends in no product, whatever the designer thought. Before/after digests are Bio.Restriction's.
"""

import json
import warnings
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from biotools.cancel import check_cancelled
from biotools.errors import ToolInputError
from biotools.params import FilePath, Spacer
from biotools.records import load_record
from biotools.verify.bases import opposite_strand

if TYPE_CHECKING:
    from pydna.dseqrecord import Dseqrecord

# Stands for the rest of the plasmid: the cassette is closed to a circle with it. Long enough not
# to be part of any site, and of a letter that no enzyme recognises.
_REST = "N" * 30
_ANNEALING = 16
_PROMOTER_READ = 19
_SCAFFOLD_READ = 20

OligoText = Annotated[str, Field(pattern="^[ACGTacgt]{16,200}$", description="5' to 3'")]


class OrderedOligos(BaseModel):
    """The two oligos as they would be ordered for this spacer."""

    spacer: Spacer
    top: OligoText
    bottom: OligoText


class DigestPattern(BaseModel):
    """Fragment lengths in bp, longest first, of the circle cut with `enzyme`."""

    enzyme: str
    before: list[int]
    after: list[int]


class AssemblyCheck(BaseModel):
    """What the assembly of one oligo pair gives."""

    spacer: str
    ok: bool
    reason: str
    product_length: int | None
    insert_in_place: bool = Field(description="U6 promoter, guide and scaffold are contiguous")
    site_destroyed: bool = Field(description="the cloning enzyme no longer cuts the product")
    digest: DigestPattern | None


class AssemblyChecks(BaseModel):
    """One check per pair; `verified_on` says whether plasmid or cassette was assembled."""

    checks: list[AssemblyCheck]
    verified_on: str


def assemble(
    oligos: Annotated[list[OrderedOligos], Field(min_length=1, max_length=200)],
    vector: str,
    vector_file: FilePath | None = None,
) -> AssemblyChecks:
    """Golden Gate assembly of each annealed oligo pair into the vector, and what it gives.

    ok: exactly one circular product, in which U6 promoter, guide (with the G in front, if any) and
    scaffold follow each other, and which the enzyme cuts no more.
    Errors: unknown_vector, vector_site_missing (the enzyme does not cut twice), loader errors.
    """
    facts = _facts(vector)
    circle, verified_on = _circle(facts, vector_file)
    before = _cut_lengths(circle, facts["enzyme"])
    if len(before) != 2:
        raise ToolInputError(
            "vector_site_missing",
            f"{facts['enzyme']} cuts the vector into {len(before)} fragments instead of two.",
            "Give the empty vector, and name it in `vector`.",
        )
    checks = [_check(pair, facts, circle, before) for pair in oligos]
    return AssemblyChecks(checks=checks, verified_on=verified_on)


@cache
def _known() -> dict[str, dict[str, Any]]:
    raw = files("biotools").joinpath("data/vectors.json").read_bytes()
    return {entry["name"].casefold(): entry for entry in json.loads(raw)["vectors"]}


def _facts(vector: str) -> dict[str, Any]:
    entry = _known().get(vector.casefold())
    if entry is None:
        names = ", ".join(one["name"] for one in _known().values())
        raise ToolInputError("unknown_vector", f"No vector {vector!r}.", f"Use one of {names}.")
    return entry


def _circle(facts: dict[str, Any], vector_file: str | None) -> tuple[str, str]:
    """The circle the oligos are ligated into, and the words for what it is."""
    if vector_file is not None:
        record = load_record(vector_file)
        return record.sequence, f"whole plasmid {record.id}, {len(record.sequence)} bp"
    parts = ("u6_end", "left_site", "stuffer", "right_site", "scaffold")
    text = "".join(facts[part] for part in parts) + _REST
    return text, (
        f"cloning cassette of {facts['full_name']} only (Addgene {facts['addgene_id']}; "
        f"{facts['note']} {len(_REST)} N stand for the rest of the plasmid)"
    )


def _cut_lengths(circle: str, enzyme: str) -> list[int]:
    """Fragment lengths of the circle, longest first; an uncut circle is one length."""
    from Bio import Restriction
    from Bio.Seq import Seq

    fragments = getattr(Restriction, enzyme).catalyse(Seq(circle), linear=False)
    return sorted((len(piece) for piece in fragments), reverse=True)


def _is_cut(circle: str, enzyme: str) -> bool:
    from Bio import Restriction
    from Bio.Seq import Seq

    return bool(getattr(Restriction, enzyme).search(Seq(circle), linear=False))


def _check(
    pair: OrderedOligos, facts: dict[str, Any], circle: str, before: list[int]
) -> AssemblyCheck:
    check_cancelled()
    products = _ligate(pair, circle, facts["enzyme"])
    if len(products) != 1:
        return _refused(pair, f"the assembly gives {len(products)} products instead of one")
    product = products[0]
    in_place = _reads_in_place(product, pair.spacer.upper(), facts)
    destroyed = not _is_cut(product, facts["enzyme"])
    reason = "one product, guide in place, sites gone"
    if not in_place:
        reason = "U6 promoter, guide and scaffold do not follow each other in the product"
    elif not destroyed:
        reason = f"{facts['enzyme']} still cuts the product"
    after = _cut_lengths(product, facts["enzyme"])
    return AssemblyCheck(
        spacer=pair.spacer.upper(),
        ok=in_place and destroyed,
        reason=reason,
        product_length=len(product),
        insert_in_place=in_place,
        site_destroyed=destroyed,
        digest=DigestPattern(enzyme=facts["enzyme"], before=before, after=after),
    )


def _refused(pair: OrderedOligos, reason: str) -> AssemblyCheck:
    return AssemblyCheck(
        spacer=pair.spacer.upper(),
        ok=False,
        reason=reason,
        product_length=None,
        insert_in_place=False,
        site_destroyed=False,
        digest=None,
    )


def _ligate(pair: OrderedOligos, circle: str, enzyme: str) -> list[str]:
    """Circular products that take up the annealed oligos, as forward text."""
    from Bio import Restriction
    from pydna.assembly2 import golden_gate_assembly
    from pydna.dseqrecord import Dseqrecord

    backbone = Dseqrecord(circle, circular=True)
    texts = []
    for duplex in _anneal(pair):
        with warnings.catch_warnings():
            # pydna warns of partial digests, which it leaves out: they show as a missing product.
            warnings.simplefilter("ignore", UserWarning)
            made = golden_gate_assembly(
                [backbone, duplex], [getattr(Restriction, enzyme)], circular_only=True
            )
        texts += [str(product.seq).upper() for product in made]
    return texts


def _anneal(pair: OrderedOligos) -> "list[Dseqrecord]":
    """The duplexes the two oligos form; none where they pair with mismatches or not at all."""
    from pydna.oligonucleotide_hybridization import oligonucleotide_hybridization
    from pydna.primer import Primer

    top, bottom = Primer(pair.top.upper()), Primer(pair.bottom.upper())
    try:
        duplexes: list[Dseqrecord] = oligonucleotide_hybridization(top, bottom, _ANNEALING)
    except ValueError:
        return []
    return duplexes


def _reads_in_place(product: str, spacer: str, facts: dict[str, Any]) -> bool:
    """Exactly one promoter-guide-scaffold run on the circle; transcription starts at a G."""
    guide = spacer if spacer.startswith("G") else "G" + spacer
    run = facts["u6_end"][-_PROMOTER_READ:] + guide + facts["scaffold"][:_SCAFFOLD_READ]
    round_trip = product + product[: len(run) - 1]
    return round_trip.count(run) + opposite_strand(round_trip).count(run) == 1
