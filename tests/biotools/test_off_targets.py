"""The off-target scan against a comparison letter by letter, on random and on real sequence."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from biotools import ToolInputError, samples
from biotools.crispr import chunks, genome_cache, site_index
from biotools.crispr.chunks import Tally
from biotools.crispr.enumeration import enumerate_guides
from biotools.crispr.off_targets import GuideOffTargets, OnTarget, find_off_targets
from biotools.crispr.on_target import GuideContext, score_on_target
from biotools.records import load_record

HBB, HLA = str(samples.HBB_REGION), str(samples.HLA_REGION)
COMPLEMENT = str.maketrans("ACGT", "TGCA")
PAMS = {"NGG": "[ACGT]GG", "NAG": "[ACGT]AG", "NGA": "[ACGT]GA"}
HBD = range(54788, 56259)
Place = tuple[str, int, str, int, str]


def turned(text: str) -> str:
    return text.translate(COMPLEMENT)[::-1]


def brute(contigs: dict[str, str], spacer: str, limit: int, pams: list[str]) -> Counter[Place]:
    """(contig, start, strand, mismatches, PAM pattern) of every site, by plain reading."""
    found: Counter[Place] = Counter()
    for name, sequence in contigs.items():
        clean = re.sub("[^ACGT]", "n", sequence)
        for strand, text in (("+", clean), ("-", clean.translate(COMPLEMENT)[::-1])):
            for at in range(len(text) - 22):
                window = text[at : at + 23]
                pam = next((p for p in pams if re.fullmatch(PAMS[p], window[20:])), None)
                if pam is None or "n" in window:
                    continue
                differing = sum(a != b for a, b in zip(window, spacer, strict=False))
                if differing <= limit:
                    start = at if strand == "+" else len(text) - at - 20
                    found[name, start, strand, differing, pam] += 1
    return found


def sites(report: GuideOffTargets) -> Counter[Place]:
    return Counter(
        (s.contig, s.start, s.strand, s.mismatches, pattern)
        for s in report.sites
        for pattern in [next(p for p in PAMS if re.fullmatch(PAMS[p], s.pam))]
    )


def mutated(rng: random.Random, spacer: str, count: int) -> str:
    letters = list(spacer)
    for at in rng.sample(range(20), count):
        letters[at] = rng.choice([b for b in "ACGT" if b != letters[at]])
    return "".join(letters)


def planted_genome(rng: random.Random, spacers: list[str]) -> dict[str, str]:
    """Random contigs in which each spacer occurs with 0 to 5 mismatches, on both strands."""
    contigs = {}
    for number in range(3):
        parts = ["".join(rng.choices("ACGT", k=300))]
        for spacer in spacers:
            for count in range(6):
                pam = rng.choice("ACGT") + rng.choice(["GG", "AG", "GA", "CC"])
                site = mutated(rng, spacer, count) + pam
                parts.append(site if rng.random() < 0.5 else turned(site))
                parts.append("".join(rng.choices("ACGTNR", (9, 9, 9, 9, 1, 1), k=17)))
        contigs[f"c{number}"] = "".join(parts)
    return contigs | {"short": "ACGTACGT"}


def write(folder: Path, contigs: dict[str, str], name: str = "genome.fa") -> str:
    path = folder / name
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in contigs.items()))
    return str(path)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_plain_reading(tmp_path: Path, seed: int, limit: int) -> None:
    rng = random.Random(seed)
    spacers = ["".join(rng.choices("ACGT", k=20)) for _ in range(4)] + ["A" * 20, "ACAC" * 5]
    contigs = planted_genome(rng, spacers)
    path = write(tmp_path, contigs)
    result = find_off_targets(spacers, [path], max_mismatches=limit, sites_per_guide=10000)
    for spacer, report in zip(spacers, result.guides, strict=True):
        expected = brute(contigs, spacer, limit, list(PAMS))
        assert sites(report) == expected
        by_pam = {
            pam: [
                sum(n for k, n in expected.items() if k[3:] == (m, pam)) for m in range(limit + 1)
            ]
            for pam in PAMS
        }
        assert report.counts_by_pam == by_pam
        assert report.counts == [sum(column) for column in zip(*by_pam.values(), strict=True)]
        assert not report.truncated


def test_small_blocks_and_chunks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    spacers = ["".join(rng.choices("ACGT", k=20)) for _ in range(5)]
    path = write(tmp_path, planted_genome(rng, spacers))
    whole = find_off_targets(spacers, [path], sites_per_guide=1000)
    monkeypatch.setattr(chunks, "_BLOCK", 37)
    monkeypatch.setattr(chunks, "CHUNK_BASES", 700)
    monkeypatch.setattr(site_index, "_MAX_CANDIDATES", 3)
    monkeypatch.setattr(genome_cache, "CACHE", genome_cache.GenomeCache())
    assert find_off_targets(spacers, [path], sites_per_guide=1000) == whole


def test_lists_only_the_worst_sites_and_says_so() -> None:
    spacer = "TATGGGCAACCCTAAGGTGA"
    everything = find_off_targets([spacer], [HBB, HLA]).guides[0]
    short = find_off_targets([spacer], [HBB, HLA], sites_per_guide=2).guides[0]
    assert short.sites == everything.sites[:2]
    assert short.truncated
    assert short.cfd_specificity == everything.cfd_specificity
    scores = [site.cfd for site in everything.sites]
    assert scores == sorted(scores, reverse=True)


def test_the_target_itself_is_left_out_and_only_there() -> None:
    guide = next(g for g in enumerate_guides(HBB, "HBB").guides if g.strand == "-")
    target = OnTarget(spacer=guide.spacer, contig="U01317.1", start=guide.start, strand="-")
    with_it = find_off_targets([guide.spacer.lower()], [HBB]).guides[0]
    without = find_off_targets([guide.spacer], [HBB], [target]).guides[0]
    assert with_it.counts[0] == without.counts[0] + 1
    elsewhere = target.model_copy(update={"start": guide.start + 1})
    assert find_off_targets([guide.spacer], [HBB], [elsewhere]).guides[0] == with_it


def test_specificity_is_that_of_the_listed_sites() -> None:
    report = find_off_targets(["TATGGGCAACCCTAAGGTGA"], [HBB, HLA], sites_per_guide=10000).guides[0]
    cfd = sum(100 * site.cfd for site in report.sites)
    mit = 0.0
    for site in report.sites:
        is_ngg = site.pam.endswith("GG")
        mit += site.mit if is_ngg else 0.2 * site.mit if site.mit >= 1 else 0.0
    assert report.cfd_specificity == pytest.approx(100 * 100 / (100 + cfd), abs=1e-5)
    assert report.mit_specificity == pytest.approx(100 * 100 / (100 + mit), abs=1e-5)


def test_searched_names_the_background_once() -> None:
    result = find_off_targets(["TATGGGCAACCCTAAGGTGA"], [HBB, HLA, HBB])
    assert [(g.name, g.contigs, g.bases) for g in result.searched] == [
        ("human_HBB_region_U01317.gb", 1, 73308),
        ("human_chr6p21_HLA_BA000025.gb.gz", 1, 2229817),
    ]
    assert all(len(g.sha256) == 64 and g.pam_sites > 0 for g in result.searched)


def test_cache_is_bounded_and_keyed_by_content(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": load_record(HBB).sequence[:5000]})
    cache = genome_cache.GenomeCache(max_bytes=20 << 20)
    first, again = Tally(), Tally()
    built = list(cache.chunks(path, "sha-1", ["NGG"], first))
    assert list(cache.chunks(path, "sha-1", ["NGG"], again)) == built
    assert first == again
    held = cache.nbytes
    for number in range(2, 6):
        list(cache.chunks(path, f"sha-{number}", ["NGG"], Tally()))
    assert held <= cache.nbytes <= 20 << 20
    assert list(cache.chunks(path, "sha-1", ["NGG"], Tally())) != built
    tiny = genome_cache.GenomeCache(max_bytes=1)
    assert len(list(tiny.chunks(path, "sha-1", ["NGG"], Tally()))) == len(built)
    assert tiny.nbytes == 0


def test_a_protein_as_genome_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"p": "MKVLWAALLVTFLAGCQAKVEQ"})
    with pytest.raises(ToolInputError) as caught:
        find_off_targets(["TATGGGCAACCCTAAGGTGA"], [path])
    assert caught.value.code == "protein_not_dna"


def scored_hbb(tracr: str) -> list[tuple[float, str, float, GuideOffTargets]]:
    """HBB's guides with the record as background: (score, spacer, CDS percent, off-targets)."""
    guides = enumerate_guides(HBB, "HBB").guides
    contexts = [GuideContext(id=g.id, context=g.context) for g in guides]
    scores = score_on_target(contexts, tracr).scores  # type: ignore[arg-type]
    targets = [
        OnTarget(spacer=g.spacer, contig="U01317.1", start=g.start, strand=g.strand) for g in guides
    ]
    found = find_off_targets([g.spacer for g in guides], [HBB], targets).guides
    rows = [
        (s.rule_set_3, g.spacer, g.cds_percent, f)
        for g, s, f in zip(guides, scores, found, strict=True)
        if s.rule_set_3 is not None
    ]
    return sorted(rows, key=lambda row: -row[0])


def in_hbd(report: GuideOffTargets, mismatches: int) -> bool:
    return any(s.mismatches == mismatches and s.start in HBD for s in report.sites)


def test_hbb_best_scored_guides_cut_hbd() -> None:
    """Cuts in the first 65% of the coding sequence, best Rule Set 3 (tracr Chen2013) first."""
    best = [row for row in scored_hbb("Chen2013") if row[2] <= 65][:6]
    assert sum(in_hbd(row[3], 0) for row in best) == 3
    assert in_hbd(best[0][3], 1)
    clean = [row for row in best if sum(row[3].counts[:4]) == 0]
    assert clean[0][1] == "GTAACGGCAGACTTCTCCTC"


def test_hbb_best_scored_usable_guide_cuts_hbd_perfectly() -> None:
    """The same with tracr Hsu2013 and the default window of 5 to 65%."""
    best = [row for row in scored_hbb("Hsu2013") if 5 <= row[2] <= 65]
    assert best[0][1] == "TATGGGCAACCCTAAGGTGA"
    assert in_hbd(best[0][3], 0)
