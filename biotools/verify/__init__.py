"""Verification: the evaluator's other road to every figure of a knockout design.

Shares no code with the tools it checks, only the file loaders: guides are read back as plain text,
off-targets recounted by character comparison, oligos assembled by pydna, primers amplified in
silico, donors compared with the record base by base.
"""

from biotools.verify.amplification import amplify
from biotools.verify.assembly import assemble
from biotools.verify.donors import check_donors
from biotools.verify.guides import locate_guides
from biotools.verify.recount import recount_off_targets

__all__ = ["amplify", "assemble", "check_donors", "locate_guides", "recount_off_targets"]
