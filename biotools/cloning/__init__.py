"""Cloning: from chosen guides to what is ordered and done at the bench.

Oligos for a guide vector, validation primers, an annotated record, restriction digests.
"""

from biotools.cloning.annotation import annotate_record
from biotools.cloning.digests import digest, find_sites
from biotools.cloning.oligos import design_oligos
from biotools.cloning.primers import design_primers
from biotools.cloning.site_primers import design_site_primers

__all__ = [
    "annotate_record",
    "design_oligos",
    "design_primers",
    "design_site_primers",
    "digest",
    "find_sites",
]
