"""Counts close sites of guides in one record. Standard library only; runs alone in the sandbox.

It shares nothing with the other two counters. A site with at most one mismatch agrees with the
guide in one of its halves, so each half is looked for as text and the rest is compared.
"""

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def read_sequence(path: str) -> str:
    """The one sequence of a GenBank, EMBL or FASTA file, plain or gzip, in upper case."""
    raw = Path(path).read_bytes()
    data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    lines = data.decode("utf-8-sig", "replace").splitlines()
    if next(line for line in lines if line.strip()).startswith(">"):
        kept = [line for line in lines if not line.startswith(">")]
    else:
        first = next(n for n, line in enumerate(lines) if line.startswith(("ORIGIN", "SQ ")))
        last = next(n for n in range(first, len(lines)) if lines[n].startswith("//"))
        kept = lines[first + 1 : last]
    return re.sub("[^A-Z]", "", "".join(kept).upper()).replace("U", "T")


def occurrences(text: str, word: str) -> list[int]:
    """Every place of `word` in `text`."""
    found, at = [], text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, at + 1)
    return found


def close_sites(text: str, spacer: str) -> dict[int, int]:
    """{start: mismatches} of the sites with at most one mismatch and an NGG on this strand."""
    starts = set(occurrences(text, spacer[:10]))
    starts |= {at - 10 for at in occurrences(text, spacer[10:]) if at >= 10}
    sites = {}
    for start in starts:
        window = text[start : start + 23]
        if len(window) == 23 and window[21:] == "GG" and set(window) <= set("ACGT"):
            wrong = sum(one != two for one, two in zip(window, spacer, strict=False))
            if wrong <= 1:
                sites[start] = wrong
    return sites


def recount(sequence: str, guide: dict[str, Any]) -> dict[str, object]:
    """Sites elsewhere with no and with one mismatch, and whether the guide's own site is there."""
    spacer = guide["spacer"]
    turned = sequence.translate(COMPLEMENT)[::-1]
    sites = {("+", at): wrong for at, wrong in close_sites(sequence, spacer).items()}
    for at, wrong in close_sites(turned, spacer).items():
        sites["-", len(sequence) - at - 20] = wrong
    own = sites.pop((guide["strand"], guide["start"]), None)
    elsewhere = list(sites.values())
    return {
        "id": guide["id"],
        "own_site_found": own == 0,
        "perfect": elsewhere.count(0),
        "one_mismatch": elsewhere.count(1),
    }


def main(path: str, guides: list[dict[str, Any]]) -> None:
    """Write the counts as one line of JSON."""
    sequence = read_sequence(path)
    rows = [recount(sequence, guide) for guide in guides]
    sys.stdout.write(json.dumps({"length": len(sequence), "guides": rows}) + "\n")
