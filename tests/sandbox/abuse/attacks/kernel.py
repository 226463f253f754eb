"""Attacks on the kernel's surface: odd calls, odd sockets, other processes, /proc, cgroups."""

from app.sandbox import TaskResult
from tests.sandbox.abuse.host import CANARY, REPOSITORY, TABLE, Host
from tests.sandbox.abuse.prelude import Said
from tests.sandbox.abuse.rows import Control, Row, everywhere, walls

_FILTER = "system-call filter"
# One flag for each kind of namespace that clone and unshare know.
_NAMESPACES = {
    "user": 0x10000000, "mount": 0x00020000, "pid": 0x20000000, "net": 0x40000000,
    "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000,
}  # fmt: skip
_FAMILIES = {
    "vsock": 40, "netlink": 16, "alg": 38, "key": 15, "packet": 17, "bluetooth": 31, "can": 29,
    "tipc": 30, "rds": 21, "nfc": 39, "qipcrtr": 42, "smc": 43, "xdp": 44,
}  # fmt: skip
_WRITES = (
    "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/hostname", "/proc/irq/0/smp_affinity",
    "/dev/kmsg", "/sys/kernel/uevent_helper", "/sys/power/state",
)  # fmt: skip
_READS = (
    "/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/kmsg", "/dev/kmem", "/dev/port", "/dev/sda",
    "/dev/vda", "/proc/kpageflags", "/proc/timer_list", "/proc/sched_debug",
    "/sys/kernel/debug/tracing/trace", "/sys/firmware/acpi/tables/DSDT", "/proc/acpi/wakeup",
)  # fmt: skip
_RAW = ((2, 3, 1), (2, 3, 255), (10, 3, 58), (17, 3, 768), (17, 2, 768), (2, 10, 768))


def _has_no_privilege(result: TaskResult, said: Said) -> None:
    zero = "0" * 16
    assert said.told == {
        "uids": [65534] * 3, "gids": [65534] * 3, "groups": [], "CapEff": zero, "CapPrm": zero,
        "CapBnd": zero, "CapInh": zero, "CapAmb": zero, "NoNewPrivs": "1", "Seccomp": "2",
        "first": "2",
    }  # fmt: skip


def _refused(result: TaskResult, said: Said) -> None:
    assert len(said.tried) > 40
    reached = {what for what, came in said.tried.items() if came not in ("EPERM", "ENOSYS")}
    # libseccomp, which engines use, may be too old to know it; it needs CAP_SYS_ADMIN
    assert reached <= {"open_tree_attr"}


def _found_others(result: TaskResult, said: Said) -> None:
    assert said.told["others"] >= 1


def _calls(host: Host) -> dict[str, object]:
    return {
        "calls": dict(TABLE.denied), "clone": TABLE.clone, "clone3": TABLE.clone3,
        "flags": _NAMESPACES, "folder": "/tmp", "namespaces": "/proc/1/ns/",
    }  # fmt: skip


ROWS = (
    Row(
        8, "launcher_environment", "Read the server's environment and arguments through /proc.",
        walls("the container's own environment", "empty environment, arguments by descriptor"),
        code="""
import glob
found = b""
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        with open(path, "rb") as file:
            found += file.read()
    except OSError:
        continue
for text in P["secrets"]:
    TRIED[text] = "done" if text.encode() in found else "absent"
""",
        params=lambda host: {"secrets": [CANARY, REPOSITORY]},
        control=Control(("*",), lambda host: {"secrets": [CANARY]}),
    ),
    Row(
        9, "proc_and_sys", "Read kernel memory and logs, write kernel settings.",
        walls("masked and read-only /proc and /sys", "no /sys; settings belong to the real root"),
        code="""
def read(path):
    with open(path, "rb", buffering=0) as file:
        if not file.read(64):
            raise FileNotFoundError(2, "empty")
def write(path, data=b""):
    fd = os.open(path, os.O_WRONLY)
    try:
        if data:
            os.write(fd, data)
    finally:
        os.close(fd)
def addresses():
    with open("/proc/kallsyms") as file:
        if not any(int(file.readline().split()[0], 16) for _ in range(1000)):
            raise PermissionError(1, "all are zero")
for path in P["reads"]:
    attempt("read " + path, read, path)
for path in P["writes"]:
    attempt("write " + path, write, path)
attempt("kernel addresses", addresses)
for what in P["maps"]:
    attempt("rewrite " + what, write, "/proc/self/" + what, b"0 0 1")
""",
        params=lambda host: {
            "reads": _READS, "writes": _WRITES, "maps": ["uid_map", "gid_map", "setgroups"],
        },
        control=Control(
            ("write *",),
            lambda host: {"reads": [], "writes": _WRITES[:1], "maps": []},
            user="root",
        ),
    ),
    Row(
        12, "raw_sockets", "Open raw and packet sockets.",
        everywhere("no CAP_NET_RAW"),
        code="""
import socket
for family, kind, protocol in P["kinds"]:
    attempt(f"{family} {kind} {protocol}", lambda: socket.socket(family, kind, protocol).close())
""",
        params=lambda host: {"kinds": _RAW},
        control=Control(("2 3 1", "17 3 768"), lambda host: {"kinds": _RAW}, user="root"),
    ),
    Row(
        13, "odd_socket_families", "Open sockets to the hypervisor, the kernel, its cryptography.",
        everywhere(f"{_FILTER} on the family"),
        code="""
import socket
for what, family in P["families"].items():
    for kind in (1, 2, 3, 5):
        attempt(f"{what} {kind}", lambda: socket.socket(family, kind).close())
        attempt(f"{what} {kind} pair", lambda: socket.socketpair(family, kind))
""",
        params=lambda host: {"families": _FAMILIES},
        control=Control(("netlink 3",), lambda host: {"families": _FAMILIES}),
    ),
    Row(
        14, "io_uring", "Make an io_uring, which goes round other filters.",
        everywhere(_FILTER),
        code="""
attempt("io_uring", lambda: os.close(call(P["number"], 4, ctypes.create_string_buffer(256))))
""",
        params=lambda host: {"number": TABLE.denied["io_uring_setup"]},
        control=Control(
            ("io_uring",), lambda host: {"number": TABLE.denied["io_uring_setup"]}, user="root"
        ),
    ),
    Row(
        15, "namespaces_and_mounts", "Make or join namespaces, mount, change the root.",
        everywhere(f"{_FILTER}; no capability; no further user namespaces"),
        code="""
calls = P["calls"]
def leave(child):
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
def clone(flag):
    leave(call(P["clone"], flag | 17, 0, 0, 0, 0))
def clone3(flag):
    leave(call(P["clone3"], ctypes.byref((ctypes.c_uint64 * 11)(flag, 0, 0, 0, 17)), 88))
def join(kind):
    call(calls["setns"], os.open(P["namespaces"] + kind, os.O_RDONLY), 0)
def keep_from_the_host():
    # only a control gets this far; in a sandbox what follows has to fail by itself
    libc.unshare(0x20000)
    libc.mount(None, b"/", None, 0x44000, None)
def mount():
    keep_from_the_host()
    check(libc.mount(b"tmpfs", P["folder"].encode(), b"tmpfs", 0, None))
def unmount():
    keep_from_the_host()
    check(libc.umount2(b"/proc", 2))
def root():
    check(libc.chroot(P["folder"].encode()))
for kind, flag in P["flags"].items():
    attempt("unshare " + kind, apart, call, calls["unshare"], flag)
    attempt("clone " + kind, apart, clone, flag)
    attempt("clone3 " + kind, apart, clone3, flag)
for kind in ("mnt", "net", "pid", "ipc", "uts", "user", "cgroup"):
    attempt("join " + kind, apart, join, kind)
attempt("mount", apart, mount)
attempt("unmount", apart, unmount)
attempt("chroot", apart, root)
attempt("fsopen", apart, call, calls["fsopen"], ctypes.c_char_p(b"tmpfs"), 0)
attempt("open_tree", apart, call, calls["open_tree"], -100, ctypes.c_char_p(b"/"), 1)
""",
        params=_calls,
        control=Control(
            ("unshare *", "clone *", "clone3 *", "join mnt", "mount", "unmount", "chroot",
             "fsopen", "open_tree"),
            lambda host: {
                **_calls(host), "folder": str(host.folder), "namespaces": "/proc/self/ns/",
            },
            user="root",
        ),
    ),
    Row(
        16, "other_processes", "Trace, read and write the memory of every other process.",
        everywhere(f"{_FILTER}; process 1 is the runner, which cannot be traced"),
        code="""
calls = P["calls"]
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
def read_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    own, other = Vector(ctypes.addressof(buffer), 8), Vector(id(P), 8)
    try:
        call(calls["process_vm_readv"], pid, ctypes.byref(own), 1, ctypes.byref(other), 1, 0)
    except OSError as error:
        # a wrong address is told to those alone who may look
        if error.errno != errno.EFAULT:
            raise
def read_file(pid, what):
    with open(f"/proc/{pid}/{what}", "rb", buffering=0) as file:
        file.read(1)
def write_memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
def steal(pid):
    os.close(call(calls["pidfd_getfd"], os.pidfd_open(pid), 1, 0))
def trace(pid):
    call(calls["ptrace"], 16, pid, 0, 0)
def attack(who, pid):
    attempt(f"trace {who}", apart, trace, pid)
    attempt(f"read {who}", read_memory, pid)
    attempt(f"write {who}", write_memory, pid)
    attempt(f"steal {who}", steal, pid)
    attempt(f"descriptors {who}", os.listdir, f"/proc/{pid}/fd")
    attempt(f"environment {who}", read_file, pid, "environ")
    attempt(f"maps {who}", read_file, pid, "maps")
child = os.fork()
if child == 0:
    signal.pause()
attempt("be traced", apart, call, calls["ptrace"], 0, 0, 0, 0)
attempt("trace a child", apart, trace, child)
attempt("read a child", read_memory, child)
if P["own"]:
    attack("own", child)
else:
    others = {int(text) for text in os.listdir("/proc") if text.isdigit()} - {os.getpid(), child}
    TOLD["others"] = len(others)
    for pid in others:
        attack(pid, pid)
os.kill(child, 9)
os.waitpid(child, 0)
""",
        params=lambda host: {**_calls(host), "own": False},
        check=_found_others,
        control=Control(
            ("be traced", "read own", "write own", "steal own", "descriptors own",
             "environment own", "maps own"),
            lambda host: {**_calls(host), "own": True},
        ),
    ),
    Row(
        17, "dangerous_calls", "Call everything that has broken such walls before.",
        everywhere(_FILTER),
        code="""
for what, number in P["calls"].items():
    attempt(what, call, number, -1, -1, -1, -1, -1, -1)
reached = [what for what, came in TRIED.items() if came != "EPERM"]
if P["count"]:
    TRIED.clear()
    TRIED["most are reached"] = "done" if len(reached) > P["count"] else str(reached)
""",
        params=lambda host: {**_calls(host), "count": 0},
        check=_refused,
        # With these arguments root gets another error than EPERM, or a success without effect.
        control=Control(
            ("most are reached",), lambda host: {**_calls(host), "count": 40}, user="root"
        ),
    ),
    Row(
        18, "setuid", "Become root: by setuid programs, by asking, by a copy that root owns.",
        everywhere("no-new-privileges; nosuid mounts; no capability"),
        code="""
import glob, shutil, stat, subprocess
def run(program):
    # a process shows its ids in /proc until it is waited for, even if it has ended
    child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    with open(f"/proc/{child.pid}/status") as file:
        effective = next(line for line in file if line.startswith("Uid:")).split()[2]
    child.kill()
    child.communicate()
    if effective != "0":
        raise PermissionError(1, "not root")
def is_setuid(path):
    kind = os.stat(path)
    return kind.st_mode & stat.S_ISUID and kind.st_uid in P["owners"] and os.access(path, os.X_OK)
TOLD["programs"] = 0
for path in glob.glob("/usr/bin/*") + glob.glob("/usr/sbin/*"):
    if os.path.isfile(path) and is_setuid(path) and TRIED.get("setuid program") != "done":
        TOLD["programs"] += 1
        attempt("setuid program", run, path)
attempt("setuid", os.setuid, 0)
attempt("setresuid", os.setresuid, 0, 0, 0)
attempt("setgid", os.setgid, 0)
attempt("groups", os.setgroups, [0])
copy = "/tmp/" + P["mark"]
shutil.copy("/bin/true", copy)
attempt("give away", os.chown, copy, 0, 0)
os.unlink(copy)
""",
        # what the real root owns looks like nobody's in a user namespace
        params=lambda host: {"owners": [0, 65534]},
        control=Control(("setuid program",), lambda host: {"owners": [0]}, user="nobody"),
    ),
    Row(
        28, "cgroup_escape", "Write to cgroup files, mount a cgroup file system of its own.",
        walls("cgroup namespace, read-only mount, no capability", "no cgroup mount at all"),
        code="""
names = {"release_agent", "notify_on_release", "cgroup.procs", "tasks", "memory.max", "pids.max",
         "memory.limit_in_bytes", "cgroup.subtree_control", "cpu.max", "devices.allow"}
def write(path):
    os.close(os.open(path, os.O_WRONLY))
for folder, _, files in os.walk("/sys/fs/cgroup"):
    for file in sorted(names.intersection(files)):
        if TRIED.get("write " + file) != "done":
            attempt("write " + file, write, f"{folder}/{file}")
def mount():
    libc.unshare(0x20000)
    libc.mount(None, b"/", None, 0x44000, None)
    check(libc.mount(b"c", P["folder"].encode(), b"cgroup2", 0, None))
attempt("mount cgroup", apart, mount)
""",
        params=lambda host: {"folder": "/tmp"},
        control=Control(
            ("write cgroup.procs", "mount cgroup"),
            lambda host: {"folder": str(host.folder)},
            user="root",
        ),
    ),
    Row(
        36, "privileges", "Hold any privilege at all, in the first process or its own.",
        everywhere("uid 65534, no capability in any set, no-new-privileges, filter on all"),
        code="""
def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\\n").split(":\\t", 1) for line in file if ":\\t" in line)
own = status("self")
TOLD.update({key: own[key] for key in own if key.startswith("Cap")},
            uids=os.getresuid(), gids=os.getresgid(),
            groups=sorted(set(os.getgroups()) - {65534}), NoNewPrivs=own["NoNewPrivs"],
            Seccomp=own["Seccomp"], first=status(1)["Seccomp"])
TRIED["any capability"] = "done" if int(own["CapEff"], 16) else "none"
""",
        check=_has_no_privilege,
        control=Control(("any capability",), user="root"),
    ),
    Row(
        37, "terminal", "Type into the terminal the server was started from.",
        everywhere(f"{_FILTER}; a session of its own; no terminal"),
        code="""
import fcntl
attempt("controlling terminal", lambda: os.close(os.open("/dev/tty", os.O_RDWR)))
for fd in (0, 1, 2):
    attempt(f"type into {fd}", fcntl.ioctl, fd, 0x5412, b"x")
""",
        control=Control(reason="Tests have no terminal; `test_seccomp` runs the filter itself."),
    ),
)  # fmt: skip
