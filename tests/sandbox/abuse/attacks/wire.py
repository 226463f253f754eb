"""Attacks on what runs the task: its result, its price, its neighbours, its requirements."""

from app.sandbox import TaskResult
from tests.sandbox.abuse.matrix import HARMLESS, HELD
from tests.sandbox.abuse.prelude import Said
from tests.sandbox.abuse.rows import Control, Row, everywhere, walls

_ALONE = "single-use worker, namespaces and tmpfs of its own"
_PRICED = "only the host's own failures are its fault; the rest is the task's status"


def _is_not_believed(result: TaskResult, said: Said) -> None:
    assert (result.exit_code, result.files, result.plots) == (5, (), ())
    # frames that are printed are text
    assert result.stdout.startswith("W\0\0\0\x043.11R")
    assert result.stderr == result.stdout[: len(result.stderr)]
    # standard streams, and pipes of the runner's, which trusts nothing in them
    assert set(said.told["descriptors"]) <= {0, 1, 2, 3, 4, 5, 6}


ROWS = (
    Row(
        21, "daemon", "Leave a daemon behind that holds standard output.",
        everywhere("all processes of the pid namespace are killed before the result counts"),
    ),
    Row(
        27, "leftovers", "Find what an earlier task left: files, variables, sockets, memory.",
        everywhere(_ALONE),
    ),
    Row(
        29, "forged_report", "Print and write result frames to every descriptor there is.",
        everywhere("nonce sent when its processes are dead or stopped; descriptors out of reach"),
        code="""
import glob, select
def frame(kind, payload=b""):
    return kind + len(payload).to_bytes(4, "big") + payload
fields = b"".join(len(field).to_bytes(4, "big") + field for field in (b"ok", *[b"0"] * 5))
forged = frame(b"W", b"3.11") + frame(b"R") + frame(b"E") + frame(b"T", bytes(16) + fields)
own = str(os.getpid())
for fd in (1, 2):
    os.write(fd, forged)
listing = os.open("/proc/self/fd", os.O_RDONLY)
TOLD["descriptors"] = [int(fd) for fd in os.listdir(listing) if int(fd) != listing
                       and os.path.exists(f"/proc/self/fd/{fd}")]
os.close(listing)
for path in glob.glob("/proc/[0-9]*/fd/*"):
    if path.split("/")[2] != own:
        way = os.O_NONBLOCK
        attempt("write to " + path, lambda: os.write(os.open(path, way | os.O_WRONLY), forged))
        attempt("read from " + path, lambda: os.read(os.open(path, way), 1))
def read_wire():
    readable, _, _ = select.select([0], [], [], 0)
    if not readable or not os.read(0, 1):
        raise EOFError
attempt("read the host's frames", read_wire)
if os.fstat(0).st_rdev != os.makedev(1, 3):
    attempt("write as the host", lambda: os.write(0, forged))
for fd in range(3, 300):
    try:
        os.set_blocking(fd, False)
        os.write(fd, forged)
    except OSError:
        pass
print()
say()
sys.stdout.flush()
os._exit(5)
""",
        statuses=("error", "oom"),
        check=_is_not_believed,
        control=Control(
            reason="Row 16 reaches the descriptors of a process that can be traced; `test_frames` "
            "shows that a report with the right nonce is believed."
        ),
    ),
    Row(
        31, "requirements", "Ask for options, URLs, repositories, paths and hooks as packages.",
        everywhere("PEP 508 names with versions only; wheels only; no install at run time"),
    ),
    Row(
        43, "free_ride", "Make the sandbox look broken, since that is not charged.",
        everywhere(_PRICED),
    ),
    Row(
        44, "outliving", "Outlive the time-out in a twice forked process.",
        everywhere("the sandbox's first process is killed, and all of its namespace with it"),
    ),
    Row(
        45, "neighbours", "See or reach a task that runs at the same time.",
        everywhere(_ALONE),
    ),
    Row(
        46, "starving", "Use up what a neighbour needs: processes, memory, keys.",
        walls("cgroup of its own", "limits count in its own user namespace", "pod limits"),
    ),
    Row(
        47, "sessions", "Enter another user's session by its id.",
        everywhere("sessions are found by owner and id"),
    ),
    Row(
        48, "killed_worker", "(a fault) The sandbox's processes are killed from outside mid-run.",
        everywhere("the run ends at once with a status; the next one is served"),
        outcome=HELD,
    ),
    Row(
        49, "engine_restart", "(a fault) The container engine is restarted mid-run.",
        walls("infra_error, not charged; the next run is served", "does not apply"),
        only="docker",
        outcome=HELD,
    ),
    Row(
        50, "full_disk", "(a fault) The host's disk is full, or the sandbox's own.",
        everywhere("tasks live in memory; the report needs no space"),
        outcome=HELD,
    ),
    Row(
        51, "leaks", "(a fault) A thousand runs, one after another and side by side.",
        everywhere("processes, mounts, containers, cgroups, sockets, descriptors as before"),
        outcome=HELD,
    ),
    Row(
        52, "inputs", "Change the input files, for whoever reads them next.",
        everywhere("each task gets a copy"),
        outcome=HARMLESS,
        harmless="It is the task's own copy; the stored file and the next task's are as before.",
    ),
)  # fmt: skip
