"""The sandbox script's count equals the plainest count there is."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agents.knockout.recount_script import read_sequence, recount

TURN = str.maketrans("ACGT", "TGCA")


def plain(sequence: str, spacer: str) -> dict[tuple[str, int], int]:
    """Sites with at most one mismatch, window by window."""
    found = {}
    for strand in "+-":
        text = sequence if strand == "+" else sequence.translate(TURN)[::-1]
        for at in range(len(text) - 22):
            window = text[at : at + 23]
            wrong = sum(a != b for a, b in zip(window[:20], spacer, strict=True))
            if window[21:] == "GG" and wrong <= 1 and "N" not in window:
                start = at if strand == "+" else len(text) - at - 20
                found[strand, start] = wrong
    return found


@st.composite
def planted(draw: st.DrawFn) -> tuple[str, str]:
    """A sequence with a spacer's sites planted in it, some with a change or an N."""
    spacer = draw(st.text("ACGT", min_size=20, max_size=20))
    text = ""
    for _ in range(draw(st.integers(0, 5))):
        copy = list(spacer + draw(st.sampled_from(["AGG", "NGG", "TGA", "CGG"])))
        for _ in range(draw(st.integers(0, 2))):
            copy[draw(st.integers(0, 19))] = draw(st.sampled_from("ACGTN"))
        word = "".join(copy)
        is_forward = draw(st.booleans())
        text += word if is_forward else word.translate(TURN)[::-1]
        text += draw(st.text("ACGT", max_size=8))
    return text, spacer


@given(planted())
@settings(max_examples=300, deadline=None)
def test_the_count_equals_the_plain_one(case: tuple[str, str]) -> None:
    sequence, spacer = case
    sites = plain(sequence, spacer)
    own = next(((s, at) for (s, at), wrong in sites.items() if wrong == 0), ("+", 10**6))
    answer = recount(sequence, {"id": "g1", "spacer": spacer, "strand": own[0], "start": own[1]})
    others = [wrong for place, wrong in sites.items() if place != own]
    assert answer == {
        "id": "g1",
        "own_site_found": own in sites,
        "perfect": others.count(0),
        "one_mismatch": others.count(1),
    }


FASTA = ">x some gene\nacgtac\nGTAA\n"
GENBANK = "LOCUS       X\nORIGIN\n        1 acgtac gtaa\n//\n"
EMBL = "ID   X;\nSQ   Sequence 10 BP;\n     acgtac gtaa                 10\n//\n"


@pytest.mark.parametrize("text", [FASTA, GENBANK, EMBL])
@pytest.mark.parametrize("is_packed", [False, True])
def test_every_format_of_a_record_is_read(text: str, is_packed: bool, tmp_path: Path) -> None:
    data = text.encode()
    file = tmp_path / "record"
    file.write_bytes(gzip.compress(data) if is_packed else data)
    assert read_sequence(str(file)) == "ACGTACGTAA"
