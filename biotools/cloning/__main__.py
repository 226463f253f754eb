"""`python -m biotools.cloning`: the cloning server over stdio."""

from biotools.cloning import (
    annotate_record,
    design_oligos,
    design_primers,
    design_site_primers,
    digest,
    find_sites,
)
from biotools.serve import serve

TOOLS = (
    design_oligos,
    design_primers,
    design_site_primers,
    annotate_record,
    digest,
    find_sites,
)

if __name__ == "__main__":
    serve("cloning", TOOLS)
