"""The page `docs/reference/sandbox.md`: what runs code, behind which walls, and what was seen."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args

from app.sandbox import Limits, Status
from tests.sandbox.abuse.attacks import ROWS
from tests.sandbox.abuse.matrix import HARMLESS, read_seen
from tests.sandbox.abuse.rows import Row

LIMITS: Mapping[str, str] = {
    "wall_s": "seconds from the start of user code to its end",
    "cpu_s": "seconds of CPU of each process",
    "memory_bytes": "bytes of memory, of each process and of all together",
    "processes": "processes and threads at once",
    "output_bytes": "bytes of all files that are returned",
    "stdout_bytes": "bytes of standard output; as many of standard error",
    "files": "files that are returned",
    "tmp_bytes": "bytes in `/tmp`, of the largest file, and in `/task` on top of its inputs",
}
STATUSES: Mapping[str, str] = {
    "ok": "The code ended with exit code 0.",
    "error": "It raised, or ended with another exit code or by a signal of its own.",
    "timeout": "Its wall time or a process's CPU time was up.",
    "oom": "It ran out of memory.",
    "output_limit": "It printed more than allowed; what came before is returned.",
    "killed": "It was cancelled, or killed from outside or by itself.",
    "infra_error": "The sandbox failed, not the code. Never charged.",
}
EXECUTORS = (
    (
        "docker", "`container`; `gvisor` or `microvm` with another runtime",
        ("a container of its own per task: no network, uid 65534, no capability, "
        "no-new-privileges, read-only root, sized tmpfs with a limit on inodes, limits on "
        "processes, memory and CPU, no IPC, a seccomp profile of ours"),
        ("Docker Engine; who holds its socket is root of the host, so in compose `sandboxd` alone "
        "holds it"),
    ),
    (
        "bubblewrap", "`namespaces`",
        ("user, mount, pid, network, IPC, UTS and cgroup namespaces of its own per task, no "
        "further ones, no capability, a system-call filter, rlimits, read-only root of the bare "
        "minimum, sized tmpfs"),
        "bwrap 0.8 and user namespaces; no root, no daemon",
    ),
    (
        "kubernetes", "`container`; `gvisor` or `microvm` by RuntimeClass",
        ("a pod of its own per task under the same rules, a default-deny NetworkPolicy that each "
        "pod proves before it takes a task"),
        "a cluster, a namespace, a network plugin that enforces policies",
    ),
    (
        "sandboxd", "that of the daemon's executor", "the same, in another process",
        "the daemon's socket and token",
    ),
)  # fmt: skip
_INTRO = """# Sandbox

<!-- Written by `python -m tests.sandbox.abuse.generate`; change the code, not this page. -->

`sandbox.run_python`, workflow steps of kind `sandbox` and the recount of reports run Python that
nobody has read. It runs behind walls that were tested at start, or it does not run at all: there
is no plain subprocess to fall back to.

## Executors

| Executor | Level | Walls | Needs |
| --- | --- | --- | --- |
"""
_CHOOSE = """
**How to choose.** Leave `UAOL_SANDBOX_EXECUTOR` at `auto`: Docker where its socket answers and its
self-test passes, else bubblewrap where its self-test passes, else none, with what to do. In a
container use `sandboxd` or `kubernetes`: bubblewrap cannot make namespaces in there, and giving the
server a Docker socket gives it the host. Name an executor to have that one or none. The level is
in every result, in `/healthz`, in `uaol doctor` and in the tool's description; nothing ever falls
back to a weaker one in silence.

**What bubblewrap cannot do without a cgroup.** An ordinary user without delegated cgroups has no
limit on the memory and CPU of all processes of a task together, only on each. `capabilities()`
says so under `best_effort`, and the matrix has a column for it.

## How a task runs

A worker is a sandbox whose Python has already imported its modules and waits. A task leases one,
runs in a process forked from it, and the worker is killed after it: no worker serves two tasks.
Workers are replaced in the background; where none waits, the task starts its own. Tasks whose
limits on memory, processes or space differ from the usual start their own too. A session keeps
one worker for one owner, cell after cell, until it is idle or old; it never serves another.

In the sandbox: `/task/input` (the input files), `/task/output` (the working folder; plain files
in it come back), `/tmp`, read-only data sets in `/data`, required packages below `/opt/layers`
([packages and data sets](sandbox_packages.md)).

**The wire.** One stream each way between the host and the runner, the first process of the
sandbox. The host sends a room frame, a task frame and the input files; the runner answers with
output, pictures and the value as they come, then says that every process of the task is dead or
stopped. Only then does the host send a nonce of 16 bytes, and the report must begin with it: user
code, which never holds either descriptor and cannot trace the runner, can forge none, even if it is
woken. The host believes no figure in a report: names, numbers and sizes are checked again.

**Sessions.** All processes are stopped between two tasks. The kernel can wake them by means that
they have set up before; a session in which any go on and take processor time is ended.

**Outputs.** Regular files only, opened without following links, counted, sized and named as below;
everything else is dropped and listed in `dropped`. Nothing is unpacked, drawn or executed on the
host.

**Network.** None. A task with an egress policy gets one Unix socket to a proxy of ours that knows
it by this socket: exact hosts and ports, names resolved once and by the proxy, public addresses
only, bytes and rate capped, each call noted in the trace ([egress](egress.md)).

## Limits

The defaults; a task may ask for less, and an operator's settings are the most.

| Limit | Default | What it counts |
| --- | --- | --- |
"""
_STATUSES = """
## Statuses

| Status | Charged | Meaning |
| --- | --- | --- |
"""
_CHARGE = """
A task that ends with any status but `infra_error` is charged: its price, and in usage mode its CPU
time, wall time and bytes as the host or the kernel measured them. A task cannot make itself look
like the sandbox's failure (row 43), and a refused request starts nothing and costs nothing.

## Abuse matrix

Each row is an attack that the tests run on every executor of the machine. *Stopped*: it got
nothing. *Allowed, harmless*: it may do that, for the reason below. *Open*: a limit that the
executor itself calls best effort. *Held*: a fault, and what follows it is as said. Each attack
also runs in a plain process, where it works, or says why that is not shown, so that no row is one
that cannot fail.

{columns}

| # | Attack | Stopped by | {names} |
| --- | --- | --- | {rules} |
"""
_HARMLESS = """
### Allowed, but harmless

"""
_LAST = """
## What Kubernetes proves, and what not

No cluster runs where these tests do. The manifests are compared with ones written down and checked
against the published OpenAPI schema; watching, logs and deletion are tested against a small API
server of our own with its faults (409, 410, a watch that breaks off). That a cluster's kernel,
runtime and network plugin keep the walls is proven by none of this. With `KUBECONFIG` set,
`pytest tests/sandbox --k8s` runs the whole list above on that cluster; without it these tests are
left out and said to be, never reported as passed, and the matrix has no column for it. How to set
one up: [Kubernetes](../howto/kubernetes.md).

## See it yourself

```
uaol doctor                                  # the self-test, probe by probe
pytest tests/sandbox/abuse                   # the matrix, compared with the one above
python -m tests.sandbox.abuse.generate       # see it anew and write this page
```
"""


def sandbox_page() -> str:
    """The page, from the rows and the committed matrix."""
    seen = read_seen()["columns"]
    told = {
        "columns": _told(seen),
        "names": " | ".join(f"`{name}`" for name in seen),
        "rules": " | ".join("---" for _ in seen),
    }
    parts = [
        _INTRO,
        *_executors(),
        _CHOOSE,
        *_limits(),
        _STATUSES,
        *_statuses(),
        _CHARGE.format(**told),
    ]
    parts += [_row(row, seen) for row in ROWS]
    return "".join([*parts, _HARMLESS, *_reasons(seen), _LAST])


def _executors() -> Iterator[str]:
    for name, level, walls, needs in EXECUTORS:
        yield f"| `{name}` | {level} | {walls} | {needs} |\n"


def _limits() -> Iterator[str]:
    for field in fields(Limits):
        yield f"| `{field.name}` | `{field.default}` | {LIMITS[field.name]} |\n"


def _statuses() -> Iterator[str]:
    for name in get_args(Status):
        charged = "no" if name == "infra_error" else "yes"
        yield f"| `{name}` | {charged} | {STATUSES[name]} |\n"


def _told(seen: Mapping[str, Any]) -> str:
    told = []
    for name, column in seen.items():
        at = column["where"]
        told.append(
            f"`{name}` was last seen on {at['date']} ({at['kernel']}, cgroup {at['cgroup']}, "
            f"by {at['user']})"
        )
    return "; ".join(told) + "."


def _walls(row: Row) -> str:
    grouped: dict[str, list[str]] = {}
    for executor, wall in row.walls.items():
        grouped.setdefault(wall, []).append(executor)
    if len(grouped) == 1:
        return next(iter(grouped))
    return "; ".join(f"{', '.join(names)}: {wall}" for wall, names in grouped.items())


def _row(row: Row, seen: Mapping[str, Any]) -> str:
    told = (_outcome(row, name, column["outcomes"]) for name, column in seen.items())
    return f"| {row.number} | {row.attack} | {_walls(row)} | {' | '.join(told)} |\n"


def _outcome(row: Row, name: str, outcomes: Mapping[str, str]) -> str:
    if row.only not in ("", name):
        return "does not apply"
    return outcomes.get(row.name) or f"as `{name.partition(' ')[0]}`"


def _reasons(seen: Mapping[str, Any]) -> Iterator[str]:
    for row in ROWS:
        if any(column["outcomes"].get(row.name) == HARMLESS for column in seen.values()):
            yield f"- **{row.number}.** {row.harmless}\n"
