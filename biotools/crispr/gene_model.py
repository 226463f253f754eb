"""Where a cut lies in its gene: exon, reading place, splice sites, transcripts, and NMD.

Transcripts whose reading stops early are destroyed (nonsense-mediated decay) unless the stop lies
in the last exon or less than about 50-55 nt before the last junction (Nagy and Maquat, Trends
Biochem Sci 1998;23:198-199): a cut there may leave a working, shortened protein. Exons are those
of the coding sequence: a junction inside the 3' untranslated region is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from biotools.locations import Span
from biotools.targets import Target

NMD_TAIL = 55


@dataclass(frozen=True, slots=True)
class CutPlace:
    """A cut in the coding sequence; `offset` is the number of coding bases 5' of it."""

    exon: int
    offset: int
    splice_distance: int | None
    transcripts_hit: int
    escapes_nmd: bool


@dataclass(frozen=True, slots=True)
class GeneModel:
    """The coding sequence that is cut, and all coding sequences of the gene in the record."""

    target: Target
    transcripts: Sequence[Sequence[Span]]

    def place(self, cut: int) -> CutPlace | None:
        """Where the cut lies, if both bases beside it are in one coding exon."""
        passed = 0
        for exon in self.target.exons:
            if exon.start < cut < exon.end:
                inside = cut - exon.start if self.target.strand == "+" else exon.end - cut
                offset = passed + inside
                return CutPlace(
                    exon=exon.number,
                    offset=offset,
                    splice_distance=self._splice_distance(cut),
                    transcripts_hit=self._hits(cut),
                    escapes_nmd=self._escapes_nmd(offset),
                )
            passed += exon.length
        return None

    def _splice_distance(self, cut: int) -> int | None:
        exons, forward = self.target.exons, self.target.strand == "+"
        donors = [exon.end if forward else exon.start for exon in exons[:-1]]
        acceptors = [exon.start if forward else exon.end for exon in exons[1:]]
        return min((abs(cut - border) for border in donors + acceptors), default=None)

    def _hits(self, cut: int) -> int:
        return sum(any(span.start < cut < span.end for span in spans) for spans in self.transcripts)

    def _escapes_nmd(self, offset: int) -> bool:
        if len(self.target.exons) == 1:
            return False
        last_junction = self.target.cds_length - self.target.exons[-1].length
        return offset > last_junction - NMD_TAIL
