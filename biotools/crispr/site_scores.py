"""CFD and MIT scores of off-target sites, and the specificity of a guide.

CFD (Doench et al. 2016, 10.1038/nbt.3437), 0-1: the product of one factor per mismatch and one for
the PAM. MIT (Hsu et al. 2013, 10.1038/nbt.2647), 0-100: the single-hit score as the MIT design
site computed it, with the mean distance of neighbouring mismatches; it has no PAM term.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from biotools.crispr.packing import BASES, SPACER
from biotools.data import load

# How sites at another PAM than NGG weigh in the MIT specificity (Haeussler et al. 2016,
# 10.1186/s13059-016-1012-2, and the CRISPOR manual): below 1 of 100 they are ignored.
ALTERNATIVE_PAM_MINIMUM = 1.0
ALTERNATIVE_PAM_WEIGHT = 0.2

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]


@cache
def _cfd_tables() -> tuple[Floats, Floats]:
    """Factors by [guide base, site base, position], and by [last two PAM bases]."""
    data = load("cfd")
    mismatch = np.ones((4, 4, SPACER))
    for key, factors in data["mismatch"].items():
        guide, _, site = key.partition(">")
        mismatch[BASES.index(guide), BASES.index(site)] = factors
    pam = np.array([data["pam"][base] for base in BASES]).ravel()
    return mismatch, pam


def cfd_scores(guides: Codes, sites: Codes, pams: Codes) -> Floats:
    """CFD, 0-1. `guides` and `sites`: (n, 20) base codes; `pams`: (n,) trinucleotide codes."""
    mismatch, pam = _cfd_tables()
    factors: Floats = mismatch[guides, sites, np.arange(SPACER)].prod(axis=1) * pam[pams & 15]
    return factors


def mit_scores(guides: Codes, sites: Codes) -> Floats:
    """MIT single-hit score, 0-100. `guides` and `sites`: (n, 20) base codes."""
    differs = guides != sites
    weights = np.array(load("mit")["weight"])
    kept = np.where(differs, 1 - weights, 1.0).prod(axis=1)
    count = differs.sum(axis=1)
    span = SPACER - 1 - differs[:, ::-1].argmax(axis=1) - differs.argmax(axis=1)
    distance = span / np.maximum(count - 1, 1)
    spread = np.where(count > 1, 1 / ((19 - distance) / 19 * 4 + 1), 1.0)
    scores: Floats = 100 * kept * spread / np.maximum(count, 1) ** 2
    return scores


def mit_weights(scores: Floats, is_ngg: NDArray[np.bool_]) -> Floats:
    """What each site adds to the MIT sum: other PAMs count a fifth, or nothing below 1."""
    alternative = np.where(scores >= ALTERNATIVE_PAM_MINIMUM, scores * ALTERNATIVE_PAM_WEIGHT, 0.0)
    return np.where(is_ngg, scores, alternative)


def specificity(total: float) -> float:
    """100 / (100 + sum of the site scores on a 0-100 scale), as a percentage."""
    return 10000 / (100 + total)
