"""CRISPRscan, a linear model of guide activity (Moreno-Mateos et al. 2015, 10.1038/nmeth.3543).

Trained on guides made by T7 transcription in zebrafish embryos. The coefficients are those of the
paper's supplementary table; each names a motif and its 1-based start in the 35-mer.
"""

from biotools.data import load

LENGTH = 35


def crisprscan(context: str) -> float:
    """The score of a 35-mer (6 nt, 20 nt protospacer, NGG, 6 nt), about 0-1."""
    if len(context) != LENGTH:
        raise ValueError("CRISPRscan needs 35 nucleotides")
    data = load("crisprscan")
    score = float(data["intercept"])
    for motif, places in data["coefficient"].items():
        for place, weight in places.items():
            if context.startswith(motif, int(place) - 1):
                score += weight
    return score
