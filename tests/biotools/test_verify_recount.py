"""The brute-force recount against hand counting and against a plain loop on random genomes."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biotools import ToolInputError
from biotools.crispr.off_targets import find_off_targets
from biotools.records import load_record
from biotools.verify import recount_off_targets
from biotools.verify.bases import opposite_strand
from biotools.verify.genome_text import blocks_of
from biotools.verify.recount import OnTarget

HBB = "biotools/samples/human_HBB_region_U01317.gb"
HLA = "biotools/samples/human_chr6p21_HLA_BA000025.gb.gz"
SPACER = "GTAACGGCAGACTTCTCCTC"
ALLOWED = {"N": "ACGT", "A": "A", "G": "G", "R": "AG"}


def _fasta(folder: Path, *contigs: str) -> str:
    path = folder / "genome.fa"
    path.write_text("".join(f">c{n}\n{text}\n" for n, text in enumerate(contigs)))
    return str(path)


def test_hand_built_genome(tmp_path: Path) -> None:
    one_off = "A" + SPACER[1:]
    contig = (
        f"CC{SPACER}TGGAAA"  # 0 mismatches, NGG, + at 2
        f"{opposite_strand(one_off + 'CAG')}AA"  # 1 mismatch, NAG, -
        f"{SPACER[:-1]}NTGGAA"  # N in the protospacer: no site
        f"{SPACER}TCCAA"  # no PAM
        f"{SPACER}AGA"  # 0 mismatches, NGA, at the very end
    )
    path = _fasta(tmp_path, contig, SPACER.lower() + "cgg", "ACGT")
    guide = recount_off_targets([SPACER], [path]).guides[0]
    assert guide.counts == [3, 1, 0, 0, 0]
    assert guide.counts_by_pam == {
        "NGG": [2, 0, 0, 0, 0],
        "NAG": [0, 1, 0, 0, 0],
        "NGA": [1, 0, 0, 0, 0],
    }
    spared = [
        OnTarget(spacer=SPACER, contig="c0", start=2, strand="+"),
        OnTarget(spacer=SPACER, contig="c1", start=0, strand="-"),  # wrong strand: nothing there
    ]
    assert recount_off_targets([SPACER], [path], spared).guides[0].counts == [2, 1, 0, 0, 0]


def test_hbb_guides_with_a_copy_in_hbd_are_seen() -> None:
    shared = "CCCTGGGCAGGTTGGTATCA"
    clean, twin = recount_off_targets([SPACER, shared], [HBB]).guides
    assert clean.counts[0] == 1
    assert twin.counts[0] == 2
    here = [OnTarget(spacer=SPACER, contig="U01317.1", start=62204, strand="-")]
    assert recount_off_targets([SPACER], [HBB], here).guides[0].counts[0] == 0


def test_both_roads_count_the_same_on_real_sequence() -> None:
    text = load_record(HBB).sequence
    cuttable = {text[at : at + 20] for at in range(62187, 63610) if text[at + 21 : at + 23] == "GG"}
    spacers = sorted(cuttable)
    scanned = find_off_targets(spacers, [HBB, HLA])
    recounted = recount_off_targets(spacers, [HBB, HLA])
    assert [(one.spacer, one.counts, one.counts_by_pam) for one in recounted.guides] == [
        (one.spacer, one.counts, one.counts_by_pam) for one in scanned.guides
    ]
    assert [one.pam_sites for one in recounted.searched] == [
        one.pam_sites for one in scanned.searched
    ]
    assert sum(sum(one.counts) for one in recounted.guides) > len(spacers)


def test_what_was_searched_is_reported() -> None:
    genome = recount_off_targets([SPACER], [HBB]).searched[0]
    assert (genome.name, genome.contigs, genome.bases) == (Path(HBB).name, 1, 73_308)
    assert genome.sha256.startswith("1fdc8b15a454dfb4")
    assert genome.pam_sites > 0


def test_sites_on_block_boundaries_are_counted_once(tmp_path: Path) -> None:
    rng = random.Random(7)
    letters = rng.choices("ACGT", k=2_200_000)
    for at in range(0, 2_199_000, 1000):
        word = SPACER + "TGG" if at % 2000 else opposite_strand(SPACER + "TGG")
        letters[at + 37 * (at % 7) : at + 37 * (at % 7) + 23] = word
    text = "".join(letters)
    path = tmp_path / "long.fa"
    path.write_text(">c\n" + "\n".join(text[at : at + 61] for at in range(0, len(text), 61)) + "\n")
    blocks = list(blocks_of(str(path), overlap=22))
    assert len(blocks) > 1
    assert sum(len(one.text) - one.known for one in blocks) == len(text)
    assert all(text.startswith(one.text.decode(), one.begin) for one in blocks)
    expected = text.count(SPACER + "TGG") + text.count(opposite_strand(SPACER + "TGG"))
    guide = recount_off_targets([SPACER], [str(path)], max_mismatches=0, pams=["NGG"]).guides[0]
    assert guide.counts == [expected]
    assert expected == 2199


def test_a_pam_given_twice_is_refused() -> None:
    with pytest.raises(ToolInputError) as caught:
        recount_off_targets([SPACER], [HBB], pams=["NGG", "ngg"])
    assert caught.value.code == "invalid_argument"


def _plain_count(
    spacer: str, contigs: list[str], pam: str, limit: int, skip: tuple[int, int, str]
) -> list[int]:
    counts = [0] * (limit + 1)
    for number, contig in enumerate(contigs):
        for strand, text in (("+", contig), ("-", opposite_strand(contig))):
            for at in range(len(text) - 22):
                window = text[at : at + 23]
                start = at if strand == "+" else len(text) - at - 20
                if set(window) <= set("ACGT") and (number, start, strand) != skip:
                    mismatches = sum(a != b for a, b in zip(spacer, window, strict=False))
                    fits = all(b in ALLOWED[p] for p, b in zip(pam, window[20:], strict=True))
                    counts[min(mismatches, limit)] += fits and mismatches <= limit
    return counts


DNA = st.text(alphabet="ACGTACGTACGTACGTN", min_size=1, max_size=160)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(DNA, min_size=1, max_size=3), st.integers(0, 20))
def test_recount_equals_a_plain_loop(data: st.DataObject, contigs: list[str], limit: int) -> None:
    spacer = data.draw(st.text(alphabet="ACGT", min_size=20, max_size=20))
    if len(contigs[0]) >= 40:  # most random spacers hit nothing: plant one
        contigs[0] = contigs[0][:10] + spacer + contigs[0][30:]
    skip = (0, data.draw(st.integers(0, 140)), data.draw(st.sampled_from(["+", "-"])))
    pams = ["NGG", "NAG", "NGA", "NRG"]
    spared = OnTarget.model_validate(
        {"spacer": spacer, "contig": "c0", "start": skip[1], "strand": skip[2]}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = _fasta(Path(folder), *contigs)
        guide = recount_off_targets([spacer], [path], [spared], limit, pams).guides[0]
    expected = {pam: _plain_count(spacer, contigs, pam, limit, skip) for pam in pams}
    assert guide.counts_by_pam == expected
    # NRG is NGG and NAG together: it may not be counted again in the total.
    disjoint = ("NGG", "NAG", "NGA")
    assert guide.counts == [sum(expected[pam][n] for pam in disjoint) for n in range(limit + 1)]
