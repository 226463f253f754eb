"""Primers around off-target sites, checked by the verifier's own PCR."""

from pathlib import Path

import pytest

from biotools import ToolInputError, samples
from biotools.cloning import design_site_primers
from biotools.cloning.site_primers import GenomeSite
from biotools.cloning.vectors import reverse_complement
from biotools.records import load_record
from biotools.verify import amplify
from biotools.verify.amplification import ClaimedPair

HBB = str(samples.HBB_REGION)
SITES = [GenomeSite(id=str(cut), contig="U01317.1", cut=cut) for cut in (54831, 46077, 19582)]


def genome(folder: Path, name: str, **contigs: str) -> str:
    path = folder / name
    path.write_text("".join(f">{key}\n{text}\n" for key, text in contigs.items()))
    return str(path)


def test_each_site_has_a_pair_that_the_verifier_finds_unique() -> None:
    design = design_site_primers(HBB, SITES)
    assert [pair.id for pair in design.pairs] == [site.id for site in SITES]
    sequence = load_record(HBB).sequence
    for site, pair in zip(SITES, design.pairs, strict=True):
        product = sequence[pair.left_start : pair.right_end]
        assert product.startswith(pair.left)
        assert product.endswith(reverse_complement(pair.right))
        assert 300 <= pair.product_size == len(product) == sum(pair.fragments) <= 600
        assert pair.fragments[0] == site.cut - pair.left_start
        assert min(pair.fragments) >= 100
    fields = set(ClaimedPair.model_fields)
    claims = [ClaimedPair(**pair.model_dump(include=fields)) for pair in design.pairs]
    assert all(check.ok for check in amplify([HBB], claims).checks)
    assert design_site_primers(HBB, SITES) == design


def test_a_pair_that_a_background_repeats_is_passed_over(tmp_path: Path) -> None:
    first = design_site_primers(HBB, SITES[:1]).pairs[0]
    product = load_record(HBB).sequence[first.left_start : first.right_end]
    copy = genome(tmp_path, "copy.fa", other=reverse_complement(product))
    second = design_site_primers(HBB, SITES[:1], [copy]).pairs[0]
    assert (second.left, second.right) != (first.left, first.right)
    assert design_site_primers(HBB, SITES[:1], [HBB]).pairs == [first]


def test_a_site_without_primers_says_why_and_fails_alone(tmp_path: Path) -> None:
    text = load_record(HBB).sequence
    path = tmp_path / "g.fa"
    path.write_text(f">a\n{text[54000:56000]}\n>b\n{text[:900]}\n>b\n{text[900:1800]}\n")
    sites = [
        GenomeSite(id="good", contig="a", cut=831),
        GenomeSite(id="edge", contig="a", cut=20),
        GenomeSite(id="beyond", contig="a", cut=5000),
        GenomeSite(id="twice", contig="b", cut=400),
        GenomeSite(id="none", contig="c", cut=400),
    ]
    design = design_site_primers(str(path), sites)
    assert [pair.id for pair in design.pairs] == ["good"]
    reasons = {one.id: one.reason for one in design.failed}
    assert "primer3 finds no pair" in reasons["edge"]
    assert "has 2000 bases only" in reasons["beyond"]
    assert "several contigs 'b'" in reasons["twice"]
    assert "no contig 'c'" in reasons["none"]


def test_a_site_whose_surroundings_are_repeated_has_no_pair(tmp_path: Path) -> None:
    around = load_record(HBB).sequence[53000:57000]
    copy = genome(tmp_path, "copy.fa", copy=around)
    design = design_site_primers(HBB, SITES[:1], [copy])
    assert design.pairs == []
    assert "has exactly one product" in design.failed[0].reason


def test_two_sites_with_one_id_are_refused() -> None:
    with pytest.raises(ToolInputError, match="one id"):
        design_site_primers(HBB, [SITES[0], SITES[0]])
