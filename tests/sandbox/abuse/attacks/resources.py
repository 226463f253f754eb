"""Attacks that take: processes, memory, disk, time, output."""

from app.sandbox import TaskResult
from tests.sandbox.abuse.host import Host
from tests.sandbox.abuse.prelude import Said
from tests.sandbox.abuse.rows import Control, Row, everywhere, walls

_MB = 2**20
_PROCESSES = 20
_MEMORY = 256 * _MB
_TMP = 32 * _MB

_FILL = """
def fill(folder):
    TOLD[folder] = index = 0
    while TOLD[folder] < P["cap"]:
        with open(f"{folder}/fill-{index}", "wb", buffering=0) as file:
            index += 1
            for _ in range(8):
                TOLD[folder] += file.write(bytes(2**20))
for folder in P["folders"]:
    attempt(folder, fill, folder)
"""


def _few_children(result: TaskResult, said: Said) -> None:
    assert 5 <= said.told["children"] <= _PROCESSES


def _few_bytes(result: TaskResult, said: Said) -> None:
    assert max(said.told.values()) <= _TMP


def _below_memory(result: TaskResult, said: Said) -> None:
    # in a container what tmpfs and the runner may take counts on top
    assert said.told.get("bytes", 0) <= 2 * _MEMORY


def _is_cut(result: TaskResult, said: Said) -> None:
    assert result.is_stdout_truncated or result.is_stderr_truncated
    assert max(len(result.stdout), len(result.stderr)) == 10_000


def _is_alive(result: TaskResult, said: Said) -> None:
    # it had sent itself every signal by then
    assert said.told["signals"] >= 60


def _is_limited(result: TaskResult, said: Said) -> None:
    assert all(hard >= 0 for hard in said.told.values())


def _in_folder(host: Host, cap: int) -> dict[str, object]:
    return {"folders": [str(host.folder)], "cap": cap}


ROWS = (
    Row(
        1, "fork_loop", "Fork until the system refuses.",
        walls("pids cgroup", "RLIMIT_NPROC of its own user namespace", "pids limit of the node"),
        code="""
children = []
def grow():
    for _ in range(P["cap"]):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
attempt("grow", grow)
TOLD["children"] = len(children)
for child in children:
    os.kill(child, 9)
    os.waitpid(child, 0)
""",
        params=lambda host: {"cap": 1000},
        limits={"processes": _PROCESSES},
        check=_few_children,
        control=Control(("grow",), lambda host: {"cap": 2 * _PROCESSES}),
    ),
    Row(
        2, "memory", "Take ever more memory in one process.",
        walls("memory cgroup", "RLIMIT_AS"),
        code="""
held = []
for _ in range(P["steps"]):
    held.append(bytearray(b"x") * 2**25)
TRIED["memory"] = "done"
""",
        params=lambda host: {"steps": 64},
        limits={"memory_bytes": 2 * _MEMORY},
        statuses=("oom",),
        control=Control(("memory",), lambda host: {"steps": 20}),
    ),
    Row(
        3, "memory_of_children", "Take the memory by eight children, each below the limit.",
        walls("memory cgroup", "memory cgroup, where the server may make one"),
        code="""
children, TOLD["bytes"] = [], 0
for _ in range(8):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            data = bytearray(b"x") * P["each"]
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    os.read(reader, 1)
    children.append(child)
for child in children:
    if os.waitpid(child, os.WNOHANG) == (0, 0):
        TOLD["bytes"] += P["each"]
        os.kill(child, 9)
        os.waitpid(child, 0)
TRIED["all held"] = "done" if TOLD["bytes"] == 8 * P["each"] else "killed"
""",
        params=lambda host: {"each": 100 * _MB},
        limits={"memory_bytes": _MEMORY, "tmp_bytes": 16 * _MB},
        statuses=("ok", "oom", "killed"),
        declared="total memory",
        check=_below_memory,
        control=Control(("all held",), lambda host: {"each": 100 * _MB}),
    ),
    Row(
        4, "fill_work", "Fill the work folder.",
        walls("sized tmpfs", "sized tmpfs", "sized emptyDir in memory"),
        code=_FILL,
        params=lambda host: {"folders": ["/task/output"], "cap": 16 * _TMP},
        limits={"tmp_bytes": _TMP},
        check=_few_bytes,
        control=Control(("*",), lambda host: _in_folder(host, 2 * _TMP)),
    ),
    Row(
        5, "fill_elsewhere", "Fill every other folder there might be.",
        everywhere("sized tmpfs; read-only root"),
        code=_FILL,
        params=lambda host: {
            "folders": ["/tmp", "/dev/shm", "/", "/etc", "/var/tmp", "/run", "/dev", "/usr"],
            "cap": 2 * _TMP,
        },
        limits={"tmp_bytes": _TMP},
        check=_few_bytes,
        control=Control(("*",), lambda host: _in_folder(host, 2 * _TMP)),
    ),
    Row(
        7, "sparse_terabyte", "Make a file of a terabyte that takes no space.",
        everywhere("RLIMIT_FSIZE"),
        code="""
def seek():
    with open(f"{P['folder']}/seek", "wb", buffering=0) as file:
        file.seek(2**40)
        file.write(b"x")
with open(f"{P['folder']}/big", "wb") as file:
    attempt("truncate", os.truncate, file.fileno(), 2**40)
    attempt("seek", seek)
""",
        params=lambda host: {"folder": "/tmp"},
        limits={"tmp_bytes": _TMP},
        control=Control(("truncate", "seek"), lambda host: {"folder": str(host.folder)}),
    ),
    Row(
        19, "endless_output", "Print without end, from a grandchild that has no parent.",
        everywhere("byte cap of the reader, then kill"),
        code="""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            os.write(1, b"x" * 1000)
    os._exit(0)
signal.pause()
""",
        limits={"stdout_bytes": 10_000},
        statuses=("output_limit",),
        check=_is_cut,
        control=Control(reason="What arrives fills the cap to its last byte."),
    ),
    Row(
        20, "ignored_signals", "Ignore all signals that can be ignored, and never end.",
        everywhere("SIGKILL from outside at the wall time"),
        code="""
ignored = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
for number in ignored:
    os.kill(os.getpid(), number)
TOLD["signals"] = len(ignored)
say()
while P["stay"]:
    signal.pause()
TRIED["stay"] = "done"
""",
        params=lambda host: {"stay": True},
        limits={"wall_s": 1.5},
        statuses=("timeout",),
        check=_is_alive,
        control=Control(("stay",), lambda host: {"stay": False}),
    ),
    Row(
        22, "spin", "Spin on every core, at the highest priority it can get.",
        walls("cpu quota and wall time", "wall time; own CPU cgroup where there is one"),
        code="""
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("nicer", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
say()
if P["spin"]:
    for _ in range(4):
        if os.fork() == 0:
            break
    while True:
        pass
""",
        params=lambda host: {"spin": True},
        limits={"wall_s": 1.0},
        statuses=("timeout",),
        control=Control(("real time", "nicer"), lambda host: {"spin": False}, user="root"),
    ),
    Row(
        32, "doubling_fork_bomb", "Fork in every process, as fast as can be.",
        walls("pids cgroup", "RLIMIT_NPROC of its own user namespace", "pids limit of the node"),
        code="""
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        limits={"wall_s": 0.5, "processes": _PROCESSES},
        statuses=("timeout",),
        control=Control(reason="Row 1 shows that a host lets it; a bomb there would be one."),
    ),
    Row(
        33, "raised_limits", "Raise its own limits.",
        everywhere("hard limits, no CAP_SYS_RESOURCE"),
        code="""
import resource
for kind in P["kinds"]:
    which = getattr(resource, "RLIMIT_" + kind)
    hard = resource.getrlimit(which)[1]
    TOLD[kind] = hard
    attempt(kind, resource.setrlimit, which, (hard + 1, hard + 1))
def protect():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
attempt("never the victim", protect)
""",
        params=lambda host: {"kinds": ["NPROC", "FSIZE", "NOFILE", "CPU", "CORE"]},
        check=_is_limited,
        control=Control(reason="It takes CAP_SYS_RESOURCE, which root may lack too."),
    ),
    Row(
        34, "descriptors", "Open files without end.",
        everywhere("RLIMIT_NOFILE"),
        code="""
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def grow():
    for _ in range(P["cap"]):
        os.dup(1)
attempt("grow", grow)
""",
        params=lambda host: {"cap": 100_000},
        control=Control(("grow",), lambda host: {"cap": 2000}),
    ),
    Row(
        35, "threads", "Start threads without end.",
        walls("pids cgroup", "RLIMIT_NPROC of its own user namespace", "pids limit of the node"),
        code="""
import threading
gate = threading.Event()
def grow():
    for _ in range(P["cap"]):
        threading.Thread(target=gate.wait, daemon=True).start()
attempt("grow", grow)
gate.set()
""",
        params=lambda host: {"cap": 500},
        limits={"processes": _PROCESSES},
        control=Control(("grow",), lambda host: {"cap": 2 * _PROCESSES}),
    ),
)  # fmt: skip
