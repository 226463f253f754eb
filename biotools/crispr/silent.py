"""Silent changes that keep Cas9 off a donor: in the PAM if the code allows, else in the seed.

A change is good if the altered site scores less than 0.05 by CFD (Doench et al. 2016) against its
own guide and the protein reads as before. Only whole codons of the gene are touched, and no base
within 3 of a splice site, whose sequence the splicing machinery reads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

from biotools.params import Strand
from biotools.targets import Target, reverse_complement, translated

SPACER = 20
CFD_LIMIT = 0.05
_SEED = range(19, 9, -1)
_SPLICE_MARGIN = 3
_BASES = "ACGT"
_CUT_BY_CAS9 = ("GG", "AG", "GA")
Changes = Mapping[int, str]


@dataclass(frozen=True, slots=True)
class SilentChange:
    """Places of the site (0-22, protospacer then PAM) and their new bases, on its strand."""

    where: Literal["pam", "seed"]
    bases: Changes
    cfd: float


@dataclass(frozen=True)
class CodingSite:
    """A protospacer with its PAM in a coding sequence; `start` is its first forward base."""

    target: Target
    site: str
    start: int
    strand: Strand

    def forward(self, place: int) -> int:
        """The forward position of a place of the site."""
        return self.start + (place if self.strand == "+" else SPACER - 1 - place)

    def altered(self, bases: Changes) -> str:
        """The site with other bases."""
        return "".join(bases.get(place, base) for place, base in enumerate(self.site))

    def silent(self) -> SilentChange | None:
        """The smallest change of the PAM that does, or else of the seed; null if none does."""
        for bases in self._pam_changes():
            cfd = self._cfd(bases)
            if cfd < CFD_LIMIT and self._keeps_protein(bases):
                return SilentChange("pam", bases, cfd)
        return self._seed_change()

    @cached_property
    def _index(self) -> Mapping[int, int]:
        return dict(_changeable(self.target))

    def _pam_changes(self) -> list[Changes]:
        """Changes of the PAM's last two bases, the fewest bases and the lowest CFD first."""
        pairs = [dict(zip((21, 22), pair, strict=True)) for pair in product(_BASES, repeat=2)]
        found = [
            {place: base for place, base in pair.items() if base != self.site[place]}
            for pair in pairs
            if "".join(pair.values()) not in _CUT_BY_CAS9
        ]
        return sorted(found, key=lambda bases: (len(bases), self._cfd(bases), str(bases)))

    def _seed_change(self) -> SilentChange | None:
        """One silent change after another, from the PAM outwards, until the site is not cut."""
        bases: dict[int, str] = {}
        for place in _SEED:
            tried = [{**bases, place: base} for base in _BASES if base != self.site[place]]
            kept = [one for one in tried if self._keeps_protein(one)]
            if kept:
                bases = min(kept, key=lambda one: (self._cfd(one), one[place]))
            if bases and (cfd := self._cfd(bases)) < CFD_LIMIT:
                return SilentChange("seed", bases, cfd)
        return None

    def _keeps_protein(self, bases: Changes) -> bool:
        target, edited = self.target, list(self.target.sequence)
        for place, base in bases.items():
            at = self._index.get(self.forward(place))
            if at is None:
                return False
            edited[at] = base if self.strand == target.strand else reverse_complement(base)
        return _protein(target, "".join(edited)) == _protein(target, target.sequence)

    def _cfd(self, bases: Changes) -> float:
        import numpy as np

        from biotools.crispr.site_scores import cfd_scores

        guide, site = (
            np.array([_BASES.index(base) for base in text], dtype=np.uint8)
            for text in (self.site, self.altered(bases))
        )
        pam = np.array([16 * site[20] + 4 * site[21] + site[22]], dtype=np.uint8)
        return float(cfd_scores(guide[None, :20], site[None, :20], pam)[0])


def _changeable(target: Target) -> Iterator[tuple[int, int]]:
    """(forward position, index in the coding sequence) of each base that may be changed."""
    first = target.phase_start
    whole = range(first, first + (len(target.sequence) - first) // 3 * 3)
    index, last = 0, len(target.exons)
    for exon in target.exons:
        for inside in range(exon.length):
            at_acceptor = exon.number > 1 and inside < _SPLICE_MARGIN
            at_donor = exon.number < last and inside >= exon.length - _SPLICE_MARGIN
            if index in whole and not at_acceptor and not at_donor:
                yield exon.start + inside if target.strand == "+" else exon.end - 1 - inside, index
            index += 1


def _protein(target: Target, sequence: str) -> str:
    return translated(sequence[target.phase_start :], target.genetic_code)
