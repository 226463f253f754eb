"""Bases around a cut, read from the GenBank text that the annotation tool writes.

The tools keep sequences to themselves, but the outcome of a repair depends on 30 bases on each
side of the cut, which is more than a guide's own context.
"""

_PER_LINE = 60


def bases_around(genbank: str, cut: int, reach: int = 30) -> tuple[str, int]:
    """(bases, cut within them) of `reach` bases on each side of a 0-based cut; fewer at an end."""
    begin = genbank.index("\n", genbank.index("\nORIGIN") + 1) + 1
    first = max(0, cut - reach)
    lines = genbank[begin : genbank.index("\n//", begin - 1)].split("\n")
    kept = lines[first // _PER_LINE : (cut + reach) // _PER_LINE + 1]
    text = "".join("".join(line.split()[1:]) for line in kept).upper()
    skipped = first - first // _PER_LINE * _PER_LINE
    return text[skipped : skipped + cut - first + reach], cut - first
