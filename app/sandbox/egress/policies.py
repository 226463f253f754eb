"""What a policy is: exact hosts and ports, and how much a task may move through them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
# A last label of digits would be read as an address by some (WHATWG URL, section 3.5).
_HOST = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+$|0x[0-9a-f]*$){_LABEL}")
_LONGEST_HOST = 253
_TLS = frozenset({443})


@dataclass(frozen=True)
class Policy:
    """Where a task may go, and how far. Sizes are bytes of payload, summed over the task's calls.

    Ports in `plain_ports` are spoken to with `http://`, all others through TLS. `bytes_per_s` is
    for both directions together; `connections` are open at once, `calls` are all that a task may
    try, refused ones too; `seconds` is the longest life of a connection, `idle_s` its longest
    silence.
    """

    name: str
    hosts: Mapping[str, frozenset[int]] = field(hash=False)
    plain_ports: frozenset[int] = frozenset({80})
    bytes_up: int = 32 * 2**20
    bytes_down: int = 512 * 2**20
    bytes_per_s: int = 16 * 2**20
    connections: int = 8
    calls: int = 5000
    seconds: float = 600.0
    idle_s: float = 60.0

    def ports(self, host: str) -> frozenset[int]:
        """The ports that are open on a host, by its name in lower case."""
        return self.hosts.get(host, frozenset())


def is_host(name: str) -> bool:
    """Whether a name in lower case can be a host's: two labels or more, and no address."""
    return len(name) <= _LONGEST_HOST and _HOST.fullmatch(name) is not None


# Only what a public database serves to read. Each host is one more place to leave data at.
BIO = Policy(
    "bio",
    dict.fromkeys(
        (
            "eutils.ncbi.nlm.nih.gov", "api.ncbi.nlm.nih.gov", "ftp.ncbi.nlm.nih.gov",
            "rest.uniprot.org", "ftp.uniprot.org",
            "rest.ensembl.org", "grch37.rest.ensembl.org", "ftp.ensembl.org",
            "www.ebi.ac.uk", "ftp.ebi.ac.uk", "alphafold.ebi.ac.uk",
            "data.rcsb.org", "search.rcsb.org", "files.rcsb.org", "models.rcsb.org",
            "europepmc.org",
        ),
        _TLS,
    ),
)  # fmt: skip
