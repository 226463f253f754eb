"""Checks the guides of a knockout report against the sequences, with the standard library alone.

    python tests/independent_guides.py report.json record.gb [background ...]

It imports nothing of the platform nor of any bio library, so that a mistake they share cannot hide
here. It reads the GenBank record itself and asks, of the report: is the gene the record's own, and
does it translate? Is every guide of the gene a candidate, and no other? Does each lie where it is
said to? Do the counted NGG sites with no and with one mismatch agree, for every candidate, and has
no chosen guide one? Are the oligos those to order, and do the primers frame the cut? Exit code 0
and the word "clean", or 1 and every finding.

Coordinates are 0-based and half-open on the forward strand, as in the report.
"""

import gzip
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

JSON = dict[str, Any]
SPACER = 20
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
# The standard code in the order of NCBI's tables: TTT, TTC, TTA, TTG, TCT, ...
_AMINO = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
_CODONS = {a + b + c: i for i, (a, b, c) in enumerate((x, y, z) for x in "TCAG" for y in "TCAG"
                                                      for z in "TCAG")}  # fmt: skip
# What the vector's cloning enzyme recognises, on both strands.
_ENZYME_SITES = {"BbsI": ("GAAGAC", "GTCTTC"), "BsmBI": ("CGTCTC", "GAGACG")}


class Site(NamedTuple):
    """A place where a spacer lies before NGG; `start` is its first base on the forward strand."""

    contig: str
    start: int
    strand: str
    mismatches: int


class Gene(NamedTuple):
    """A coding sequence as the record's annotation gives it."""

    strand: str
    exons: list[tuple[int, int]]
    protein: str


def other_strand(bases: str) -> str:
    """The other strand, 5' to 3'."""
    return bases.translate(_COMPLEMENT)[::-1]


def text_of(path: Path) -> str:
    """A file's text, unpacked if it is gzip."""
    data = path.read_bytes()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()


def contigs_of(text: str) -> dict[str, str]:
    """The sequences of a GenBank or FASTA text by name; anything but A, C, G, T becomes N."""
    if text.lstrip().startswith(">"):
        entries = [part.partition("\n") for part in text.lstrip()[1:].split("\n>")]
        raw = {head.split()[0]: body for head, _, body in entries}
    else:
        raw = {}
        for record in text.split("\n//"):
            head, found, body = record.partition("\nORIGIN")
            if found:
                [name] = re.findall(r"^VERSION +(\S+)", head, re.MULTILINE)
                raw[name] = body.partition("\n")[2]
    return {name: _bases(body) for name, body in raw.items()}


def _bases(body: str) -> str:
    letters = re.sub(r"[\s\d]", "", body).upper().replace("U", "T")
    return re.sub("[^ACGT]", "N", letters)


def gene_of(text: str, name: str) -> Gene:
    """The one annotated CDS of the gene, by its line in a GenBank record."""
    features = text.partition("\nFEATURES")[2].partition("\nORIGIN")[0]
    blocks = re.split(r"\n {5}(?=\S)", features)
    found = [one for one in blocks if one.startswith("CDS ") and f'/gene="{name}"' in one]
    [block] = found
    location = re.sub(r"\s", "", block.removeprefix("CDS").partition("/")[0])
    exons = [(int(a) - 1, int(b)) for a, b in re.findall(r"(\d+)\.\.[<>]?(\d+)", location)]
    protein = re.sub(r"\s", "", re.findall(r'/translation="([^"]+)"', block)[0])
    strand = "-" if "complement" in location else "+"
    return Gene(strand, exons[::-1] if strand == "-" else exons, protein)


def translated(bases: str) -> str:
    """The protein of whole codons, stops as *."""
    codons = (bases[at : at + 3] for at in range(0, len(bases) // 3 * 3, 3))
    return "".join(_AMINO[_CODONS[codon]] for codon in codons)


def guides_of(bases: str, exons: list[tuple[int, int]]) -> Iterator[Site]:
    """Every NGG guide whose cut has a coding base of the same exon on either side."""
    for strand, text in (("+", bases), ("-", other_strand(bases))):
        for match in re.finditer(r"(?=[ACGT]{21}GG)", text):
            at = match.start()
            start = at if strand == "+" else len(bases) - at - SPACER
            cut = start + 17 if strand == "+" else start + 3
            if any(low < cut < high for low, high in exons):
                yield Site("", start, strand, 0)


def near_sites(spacer: str, contigs: dict[str, str]) -> Iterator[Site]:
    """Every NGG site with at most one mismatch.

    One mismatch leaves one half of the spacer whole (pigeonhole), so both halves are looked up.
    """
    halves = ((spacer[:10], 0), (spacer[10:], 10))
    for name, bases in contigs.items():
        for strand, text in (("+", bases), ("-", other_strand(bases))):
            starts = {at - offset for half, offset in halves for at in _places(text, half)}
            for at in sorted(starts):
                window = text[max(at, 0) : at + 23]
                if len(window) < 23 or window[21:] != "GG":
                    continue
                wrong = sum(a != b for a, b in zip(spacer, window, strict=False))
                if wrong <= 1:
                    start = at if strand == "+" else len(bases) - at - SPACER
                    yield Site(name, start, strand, wrong)


def products(bases: str, primers: tuple[str, str]) -> Iterator[int]:
    """Lengths of all PCR products up to 5 kb: one primer reads forward, one or the same back."""
    forward = [at for primer in primers for at in _places(bases, primer)]
    backward = [at + len(p) for p in primers for at in _places(bases, other_strand(p))]
    return (end - start for start in forward for end in backward if 0 < end - start <= 5000)


def _places(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


class Audit:
    """One report, the record it was made from, and the backgrounds it searched."""

    def __init__(self, report: JSON, record: Path, backgrounds: list[Path]) -> None:
        text = text_of(record)
        self.report = report
        [(self.name, self.bases)] = contigs_of(text).items()
        self.gene = gene_of(text, report["target"]["gene"])
        self.backgrounds = [contigs_of(text_of(path)) for path in backgrounds]
        self.candidates = {one["id"]: one for one in report["candidates"]}
        self.chosen = [self.candidates[name] for name in report["chosen"]]

    def findings(self) -> Iterator[str]:
        """Everything that is wrong, in words."""
        yield from self._target()
        yield from self._enumeration()
        for one in self.candidates.values():
            yield from self._place(one)
            yield from self._counts(one)
        yield from self._choice()
        listed = [{one["id"] for one in self.report[part]} for part in ("oligos", "primers")]
        for one in self.chosen:
            yield from self._rules(one)
            if all(one["id"] in ids for ids in listed):
                yield from self._oligos(one)
                yield from self._primers(one)

    def _target(self) -> Iterator[str]:
        target = self.report["target"]
        if [(one["start"], one["end"]) for one in target["exons"]] != self.gene.exons:
            yield f"the exons are not those of the record, {self.gene.exons}"
        if target["strand"] != self.gene.strand or target["record_id"] != self.name:
            yield "the target's strand or record is not the record's"
        parts = [self.bases[low:high] for low, high in self.gene.exons]
        coding = "".join(map(other_strand, parts) if self.gene.strand == "-" else parts)
        if translated(coding) != self.gene.protein + "*":
            yield "the coding sequence does not translate to the record's protein"

    def _enumeration(self) -> Iterator[str]:
        here = {(site.start, site.strand) for site in guides_of(self.bases, self.gene.exons)}
        said = [(one["start"], one["strand"]) for one in self.candidates.values()]
        if len(set(said)) != len(said):
            yield "a guide is listed twice"
        if here != set(said):
            yield f"missing {sorted(here - set(said))}, not of the gene {sorted(set(said) - here)}"

    def _place(self, one: JSON) -> Iterator[str]:
        start, is_forward = one["start"], one["strand"] == "+"
        site = self.bases[start : start + 23] if is_forward else self.bases[start - 3 : start + 20]
        if (site if is_forward else other_strand(site)) != one["spacer"] + one["pam"]:
            yield f"{one['id']}: the record does not have it there"
        if one["cut"] != start + (17 if is_forward else 3) or one["end"] != start + SPACER:
            yield f"{one['id']}: the cut or the end is wrong"
        low, high = self.gene.exons[one["exon"] - 1]
        if not low < one["cut"] < high:
            yield f"{one['id']}: the cut is not in exon {one['exon']}"
        gc = sum(one["spacer"].count(base) for base in "GC") / SPACER
        if abs(gc - one["gc"]) > 1e-9:
            yield f"{one['id']}: the GC share is {gc}"

    def _counts(self, one: JSON) -> Iterator[str]:
        own = Site(self.name, one["start"], one["strand"], 0)
        sites = list(near_sites(one["spacer"], {self.name: self.bases}))
        if own not in sites:
            yield f"{one['id']}: its own site is no NGG site"
        sites = [site for site in sites if site != own]
        for number, contigs in enumerate(self.backgrounds, 1):
            found = list(near_sites(one["spacer"], contigs))
            for locus in self.report["own_loci"]:
                if locus["genome"] == f"background {number}":
                    found.remove(next(s for s in found if s[0::3] == (locus["contig"], 0)))
            sites += found
        counted = [sum(site.mismatches == wrong for site in sites) for wrong in (0, 1)]
        said = one["off_targets"]["counts_by_pam"]["NGG"][:2]
        if counted != said:
            yield f"{one['id']}: {said} close NGG sites were counted, {counted} are there"
        if one in self.chosen and any(counted):
            yield f"{one['id']} was chosen and also cuts at {sites}"

    def _choice(self) -> Iterator[str]:
        cuts = sorted(one["cut"] for one in self.chosen)
        if not cuts:
            yield "nothing was chosen"
        if any(b - a < 20 for a, b in itertools.pairwise(cuts)):
            yield "two cuts are closer than 20 bp"
        for part in ("oligos", "primers"):
            if [one["id"] for one in self.report[part]] != self.report["chosen"]:
                yield f"the {part} are not those of the chosen guides"

    def _rules(self, one: JSON) -> Iterator[str]:
        if one["refused_because"]:
            yield f"{one['id']} was chosen although refused: {one['refused_because']}"
        if "TTTT" in one["spacer"] or re.search(r"(.)\1{4}", one["spacer"]):
            yield f"{one['id']} has a terminator or a run of five"
        if not 0.3 <= one["gc"] <= 0.8:
            yield f"{one['id']} has a GC share of {one['gc']}"

    def _oligos(self, one: JSON) -> Iterator[str]:
        pair = next(pair for pair in self.report["oligos"] if pair["id"] == one["id"])
        # U6 starts at a G: one is put before a spacer that does not begin with it.
        insert = one["spacer"] if one["spacer"][0] == "G" else "G" + one["spacer"]
        top, bottom = "CACC" + insert, "AAAC" + other_strand(insert)
        if (pair["top"], pair["bottom"]) != (top, bottom):
            yield f"{one['id']}: the oligos should be {top} and {bottom}"
        if pair["g_added"] != (insert != one["spacer"]):
            yield f"{one['id']}: a G is said to be added, or not, and it is not so"
        enzyme = self.report["provenance"]["parameters"]["enzyme"]
        # Ligated, the overhangs read on: CACC before the insert, GTTT after it.
        if any(site in f"CACC{insert}GTTT" for site in _ENZYME_SITES[enzyme]):
            yield f"{one['id']}: {enzyme} cuts the oligos"

    def _primers(self, one: JSON) -> Iterator[str]:
        pair = next(pair for pair in self.report["primers"] if pair["id"] == one["id"])
        start, end = pair["left_start"], pair["right_end"]
        product = self.bases[start:end]
        right = other_strand(pair["right"])
        if not (product.startswith(pair["left"]) and product.endswith(right)):
            yield f"{one['id']}: the primers do not lie where they are said to"
        if len(product) != pair["product_size"]:
            yield f"{one['id']}: the product has {len(product)} bp"
        if pair["fragments"] != [one["cut"] - start, end - one["cut"]]:
            yield f"{one['id']}: the fragments are not those of a cut at {one['cut']}"
        pcr = [
            size
            for contigs in ({self.name: self.bases}, *self.backgrounds)
            for bases in contigs.values()
            for size in products(bases, (pair["left"], pair["right"]))
        ]
        if pcr != [len(product)]:
            yield f"{one['id']}: the primers give products of {pcr} bp"


def main(arguments: list[str]) -> int:
    """Run the audit of the command line's files."""
    if len(arguments) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    report, record, *backgrounds = map(Path, arguments)
    audit = Audit(json.loads(report.read_text()), record, backgrounds)
    findings = list(audit.findings())
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    counts = f"{len(audit.candidates)} candidates, {len(audit.chosen)} chosen"
    sys.stdout.write(f"{'not clean' if findings else 'clean'}: {counts}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
