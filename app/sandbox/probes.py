"""The self-test: a task that tries to leave its sandbox in five ways and reports how it went."""

import json

from app.sandbox.executors.environment import task_environment
from app.sandbox.types import SELF_TEST_ID, Executor, Limits, Probe, SandboxStatus, TaskSpec

_LIMITS = Limits(wall_s=15, cpu_s=10, processes=8, memory_bytes=2**30, tmp_bytes=16 * 2**20)

# Names in the environment of a sandbox, and what an engine or the interpreter adds to them.
_KNOWN = {*task_environment(""), "HOSTNAME", "LC_CTYPE", "LD_LIBRARY_PATH", "PWD"}

_CODE = (
    f"KNOWN = {_KNOWN!r}"
    """
import json, os, socket, _ctypes
def call(name, *args):
    return _ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), name), args)
def env():
    try:
        with open("/proc/1/environ", "rb") as file:
            leaked = file.read()
    except PermissionError:
        leaked = b""
    # the first process inside may have what a task has, and nothing else
    entries = leaked.split(b"\\0") + [name + b"=" for name in os.environb]
    strange = {entry.partition(b"=")[0].decode() for entry in entries} - KNOWN - {""}
    return not strange and "UAOL_SANDBOX" in os.environ, f"{len(strange)} strange names"
def network():
    # a pod has a network, which its policy shuts: packets are dropped or refused on their way
    is_pod = os.environ.get("UAOL_SANDBOX") == "kubernetes"
    with open("/proc/net/dev") as file:
        is_lonely = {line.split(":")[0].strip() for line in file.readlines()[2:]} <= {"lo"}
    # 113 is what gVisor says without a route; elsewhere it may come from a router
    refusals = (101, 99, 97, 113) if is_lonely else (101, 99, 97)
    for family, address in ((2, ("169.254.169.254", 80)), (2, ("8.8.8.8", 53)), (10, ("::2", 53))):
        with socket.socket(family, 1) as sock:
            sock.settimeout(0.2)
            reached = sock.connect_ex(address)
        if reached == 0 or not (is_pod or reached in refusals):
            return False, f"connect to {address[0]} gave errno {reached}"
    return True, "unreachable"
def root():
    for path in ("/probe", "/usr/probe", "/etc/probe", "/dev/probe"):
        try:
            open(path, "w").close()
        except OSError:
            continue
        return False, f"{path} was written"
    return os.getuid() != 0, f"refused, uid {os.getuid()}"
def unshare():
    return call("unshare", 0x10000000) == -1, "refused"
def fork():
    children = []
    reader, writer = os.pipe()
    while len(children) < 64:
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        children.append(pid)
    os.close(writer)
    for pid in children:
        os.waitpid(pid, 0)
    return 0 < len(children) <= 8, f"{len(children)} children"
for probe in (env, network, root, unshare, fork):
    try:
        passed, detail = probe()
    except Exception as error:
        passed, detail = False, repr(error)
    print(json.dumps([probe.__name__, passed, detail]))
"""
)
_NAMES = ("env", "network", "root", "unshare", "fork")


async def self_test(executor: Executor) -> SandboxStatus:
    """Run the probes on `executor`; available only if every one of them answered and passed.

    Raises IsolationError where the executor itself knows why it cannot work.
    """
    result = await executor.run(TaskSpec(SELF_TEST_ID, _CODE, limits=_LIMITS))
    probes = _read(result.stdout)
    declared = (await executor.capabilities()).best_effort
    forgiven = {"fork"} if "processes" in declared else set()
    failed = [probe for probe in probes if not probe.passed and probe.name not in forgiven]
    if result.status == "ok" and not failed and tuple(p.name for p in probes) == _NAMES:
        return SandboxStatus(True, executor.name, probes=probes)
    told = "; ".join(f"{probe.name}: {probe.detail}" for probe in failed)
    reason = told or f"it ended as {result.status}: {result.stderr.strip()[-300:]}"
    return SandboxStatus(
        False, executor.name, f"The self-test of {executor.name} failed ({reason}).",
        "Run `uaol doctor` for the probes.", probes,
    )  # fmt: skip


def _read(stdout: str) -> tuple[Probe, ...]:
    try:
        return tuple(Probe(*json.loads(line)) for line in stdout.splitlines())
    except (ValueError, TypeError):
        return ()
