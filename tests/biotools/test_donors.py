"""Donors for every guide of HBB, read back by the verifier, which finds each fault."""

from pathlib import Path
from typing import Any

import pytest
from Bio.Seq import Seq

from biotools import ToolInputError, samples
from biotools.crispr.donors import Donor, hdr_template
from biotools.crispr.enumeration import Guide, enumerate_guides
from biotools.records import load_record
from biotools.verify import check_donors
from biotools.verify.donors import ClaimedDonor

HBB = str(samples.HBB_REGION)
LOCATION = "join(187..278,409..631,1482..1610)"
TURNED = "complement(join(391..519,1370..1592,1723..1814))"


def donor_of(guide: Guide, file: str = HBB, **options: Any) -> Donor:
    return hdr_template(file, "HBB", guide.cut, guide.strand, guide.spacer, guide.pam, **options)


def claim(guide: Guide, donor: Donor, **changed: Any) -> ClaimedDonor:
    facts = donor.model_dump(include=set(ClaimedDonor.model_fields))
    return ClaimedDonor.model_validate(
        {"id": guide.id, "spacer": guide.spacer, "cut": guide.cut, **facts, **changed}
    )


def guides() -> list[Guide]:
    return enumerate_guides(HBB, "HBB").guides


def guide_named(name: str) -> Guide:
    return next(one for one in guides() if one.id == name)


def test_every_donor_of_hbb_is_read_back_as_claimed() -> None:
    donors = [(guide, donor_of(guide)) for guide in guides()]
    answer = check_donors(HBB, "HBB", [claim(guide, donor) for guide, donor in donors])
    assert [one.reason for one in answer.checks] == ["as claimed"] * 81
    blocked = [donor for _, donor in donors if donor.blocked_by]
    assert len(blocked) > 60
    assert all(donor.recut_cfd < 0.05 and donor.changes for donor in blocked)
    for _, donor in donors:
        if donor.blocked_by is None:
            assert donor.note
            assert (donor.changes, donor.recut_cfd) == ([], 1.0)


def test_a_pam_change_leaves_the_spacer_and_ends_the_pam() -> None:
    donor = donor_of(guide_named("g023"))
    assert donor.blocked_by == "pam"
    assert donor.altered_site == "TCCCACCCTTAGGCTGCTGGTTG"
    assert [(one.position, one.old, one.new) for one in donor.changes] == [(62417, "G", "T")]


def test_no_base_near_a_splice_site_or_outside_the_code_is_changed() -> None:
    exons = [(62186, 62275), (62411, 62628), (63484, 63610)]
    for guide in guides():
        for change in donor_of(guide).changes:
            assert any(low <= change.position < high for low, high in exons)


def test_the_insert_is_checked_for_frame_and_stops() -> None:
    guide = guide_named("g008")
    whole = donor_of(guide)
    assert whole.phase == guide.phase == 2
    assert (whole.insert_in_frame, whole.reads_through) == (True, True)
    shifted = donor_of(guide, insert="GATTA")
    assert (shifted.insert_in_frame, shifted.reads_through) == (False, False)
    stopped = donor_of(guide, insert="ATGATTAGC")  # phase 2: one base ends the open codon
    assert (stopped.insert_in_frame, stopped.reads_through) == (True, False)
    tagged = donor_of(guide, insert="ggattacaa")
    assert tagged.reads_through
    assert tagged.sequence == tagged.left_arm + "GGATTACAA" + tagged.right_arm
    assert len(tagged.left_arm) == len(tagged.right_arm) == 60


def test_a_gene_on_the_other_strand_has_the_same_donors(tmp_path: Path) -> None:
    sequence = load_record(HBB).sequence[62000:64000]
    plus, minus = tmp_path / "plus.fa", tmp_path / "minus.fa"
    plus.write_text(f">a\n{sequence}\n")
    minus.write_text(f">a\n{Seq(sequence).reverse_complement()}\n")
    designed = []
    for path, location in ((str(plus), LOCATION), (str(minus), TURNED)):
        found = enumerate_guides(path, "HBB", location).guides
        made = {one.spacer: donor_of(one, path, location=location) for one in found}
        claims = [claim(one, made[one.spacer]) for one in found]
        checked = check_donors(path, "HBB", claims, location).checks
        assert {one.reason for one in checked} == {"as claimed"}
        shown = {"sequence", "left_arm", "phase", "blocked_by", "altered_site", "recut_cfd"}
        designed.append({key: one.model_dump(include=shown) for key, one in made.items()})
    assert designed[0] == designed[1]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"changes": []}, "differ from the record at 1 bases"),
    ({"strand": "-"}, "on the gene's strand"),
    ({"sequence": "ACGT"}, "on the gene's strand"),
    ({"cut": 62412}, "do not meet at the cut"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_the_verifier_finds_a_fault(fault: dict[str, Any], said: str) -> None:
    guide = guide_named("g023")
    [checked] = check_donors(HBB, "HBB", [claim(guide, donor_of(guide), **fault)]).checks
    assert not checked.ok
    assert said in checked.reason


def other_base(guide: Guide, position: int, new: str) -> ClaimedDonor:
    """The plain arms of a guide with one base changed, and honestly named."""
    low, high = guide.cut - 60, guide.cut + 60
    there = load_record(HBB).sequence
    arms = there[low:position] + new + there[position + 1 : high]
    change = {"position": position, "old": there[position], "new": new}
    plain = claim(guide, donor_of(guide))
    halves = {"left_arm": arms[:60], "right_arm": arms[60:], "sequence": arms}
    return ClaimedDonor.model_validate({**plain.model_dump(), **halves, "changes": [change]})


def test_a_change_of_the_protein_or_one_that_blocks_nothing_is_found() -> None:
    guide = guide_named("g023")
    altering = other_base(guide, 62413, "A")  # CTG to CAG
    useless = other_base(guide, 62390, "A")  # in the intron
    answer = check_donors(HBB, "HBB", [altering, useless])
    assert [one.reason for one in answer.checks] == [
        "the changes alter the protein",
        "the guide still finds its site in the arms",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"spacer": "ACGTACGTACGTACGTACGT"}, "does not cut at"),
        ({"strand": "-"}, "does not cut at"),
        ({"cut": 62300}, "no coding exon"),
        ({"arm": 2000, "file": "short"}, "do not fit"),
    ],
)
def test_what_cannot_be_a_donor_is_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    guide = guide_named("g023")
    given: dict[str, Any] = guide.model_dump(include={"cut", "strand", "spacer", "pam"})
    given |= {"file": HBB, "gene": "HBB", **changed}
    if given["file"] == "short":
        path = tmp_path / "short.fa"
        path.write_text(f">a\n{load_record(HBB).sequence[62000:64000]}\n")
        given |= {"file": str(path), "cut": guide.cut - 62000, "location": LOCATION}
    with pytest.raises(ToolInputError, match=said) as caught:
        hdr_template(**given)
    assert caught.value.code == "invalid_argument"


def test_the_verifier_names_what_it_cannot_read() -> None:
    guide = guide_named("g023")
    donors = [claim(guide, donor_of(guide))]
    for location, code in ((None, "gene_not_found"), ("join(1..", "bad_location")):
        with pytest.raises(ToolInputError) as caught:
            check_donors(HBB, "BRCA2", donors, location)
        assert caught.value.code == code
    [elsewhere] = check_donors(HBB, "HBD", donors).checks
    assert elsewhere.reason == "the cut lies in no coding sequence of the gene"
