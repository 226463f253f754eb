"""How many jobs the platform does in a second and how soon, beside other engines.

Each figure starts from a fresh hub; one whose books do not balance has failed.
"""

from collections.abc import Mapping

from bench.figures import Figure, main, parser
from bench.jobs import closed, opened, others, overhttp, rows, snapshot, waking
from bench.jobs.stage import Options

# The ratios come after what they are ratios to.
FIGURES: Mapping[str, Figure] = {
    "jobs": closed.throughput,
    "raw": others.raw,
    "peers": others.peers,
    "snapshot": snapshot.held_snapshot,
    "open": opened.open_loop,
    "http": overhttp.over_http,
    "hot": closed.one_user,
    "wake": waking.wake_up,
    "dag": others.dag,
    "rows": rows.with_rows,
}
_QUICK = Options(seconds=5.0, open_seconds=5.0, http_seconds=5.0, rows=100_000)
_ONE = "serve HTTP and work in one process, as `uaol up` does, not in two"

if __name__ == "__main__":
    asked = parser("bench.jobs", FIGURES, __doc__)
    asked.add_argument(
        "--quick",
        dest="preset",
        action="store_const",
        const=_QUICK,
        help="windows of 5 s, 100,000 rows",
    )
    asked.add_argument("--seconds", type=float, help="window of the closed loops (60)")
    asked.add_argument("--open-seconds", type=float, help="window of the open loop (60)")
    asked.add_argument("--http-seconds", type=float, help="windows over HTTP (20)")
    asked.add_argument("--rate", type=int, help="jobs per second of the open loop (10000)")
    asked.add_argument("--callers", type=int, help="callers of the closed loops (2000)")
    asked.add_argument("--ahead", type=int, help="jobs submitted and not ended, at most (4000)")
    asked.add_argument("--workers", type=int, help="worker processes (1)")
    asked.add_argument("--rows", type=int, help="rows loaded beforehand (1000000)")
    asked.add_argument("--http-clients", type=int, help="connections of single submits (64)")
    asked.add_argument("--http-users", type=int, help="users, each with a key (1000)")
    asked.add_argument("--is-one-process", action="store_true", default=None, help=_ONE)
    main(asked, FIGURES, Options())
