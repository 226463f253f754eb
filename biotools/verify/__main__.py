"""`python -m biotools.verify`: the verification server over stdio."""

from biotools.serve import serve
from biotools.verify import amplify, assemble, check_donors, locate_guides, recount_off_targets

if __name__ == "__main__":
    serve("verify", [locate_guides, recount_off_targets, assemble, amplify, check_donors])
