"""Attacks on files: the host's, the installation's, the inputs, and what is left as output."""

import hashlib
import io
import zipfile
from pathlib import Path

from app.sandbox import TaskResult
from tests.sandbox.abuse.prelude import Said
from tests.sandbox.abuse.rows import Control, Row, everywhere, walls

_MB = 2**20
_BOMB = 20 * _MB

_WRITE = """
def write(path):
    os.close(os.open(path, os.O_WRONLY))
def make(folder):
    path = folder + "/" + P["mark"]
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)
for path in P["files"]:
    attempt("change " + path, write, path)
for path in P["folders"]:
    attempt("make in " + path, make, path)
"""

_ODD = """
import socket
def bind():
    socket.socket(socket.AF_UNIX).bind("socket")
def swap(path, target):
    os.mkdir(path)
    os.rmdir(path)
    os.symlink(target, path)
attempt("a secret", os.symlink, P["secret"], "a secret")
attempt("environ", os.symlink, "/proc/self/environ", "environ")
attempt("up", os.symlink, "../../..", "up")
attempt("loop", os.symlink, "loop", "loop")
attempt("etc", swap, "etc", "/etc")
attempt("fifo", os.mkfifo, "fifo")
attempt("socket", bind)
os.mkdir("real")
attempt("below", os.symlink, "/etc", "real/etc")
os.mkdir("closed")
os.chmod("closed", 0)
with open("good.txt", "w") as file:
    file.write("good")
"""


def _only_good(result: TaskResult, said: Said) -> None:
    assert [(file.name, file.content) for file in result.files] == [("good.txt", b"good")]
    link, other = "symbolic link", "not a regular file"
    assert dict(text.rsplit(": ", 1) for text in result.dropped) == {
        "real/etc": link, "a secret": link, "environ": link, "up": link, "loop": link, "etc": link,
        "fifo": other, "socket": other, "closed": "Permission denied",
    }  # fmt: skip


def _names_are_plain(result: TaskResult, said: Said) -> None:
    assert [file.name for file in result.files] == ["..good", "ünï.txt"]
    whys = sorted(text.rsplit(": ", 1)[1] for text in result.dropped)
    assert len(whys) == len(said.done()) - 2
    assert set(whys) <= {
        "name is not UTF-8", "name has control characters", "name is too long", "nested too deep",
    }  # fmt: skip


def _counted(result: TaskResult, said: Said) -> None:
    assert len(result.files) == 50
    assert len(result.dropped) <= 101
    assert result.dropped[-1] == f"and {said.told['made'] - 150} more"


def _holes_are_dropped(result: TaskResult, said: Said) -> None:
    assert result.files == ()
    assert [text.rsplit(": ", 1)[1] for text in result.dropped] == ["too large"] * 2


def _bombs_are_sealed(result: TaskResult, said: Said) -> None:
    found = {file.name: file for file in result.files}
    assert set(found) == {"bomb.zip", "bomb.svg", "bomb.png", "bomb.csv.gz"}
    assert sum(file.size for file in result.files) < _MB
    for name, digest in said.told.items():
        assert hashlib.sha256(found[name].content).hexdigest() == digest
    # it is one: what was never unpacked would have been this
    with zipfile.ZipFile(io.BytesIO(found["bomb.zip"].content)) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) == _BOMB


def _no_files(result: TaskResult, said: Said) -> None:
    assert result.files == ()


def _same_walls(result: TaskResult, said: Said) -> None:
    own = said.told["own"]
    assert own["NoNewPrivs"] == "1"
    assert all(status == own for status in said.told.values())


ROWS = (
    Row(
        6, "inode_flood", "Make 200,000 empty files.",
        walls("inode limit of the tmpfs", "memory cgroup; gone with the sandbox"),
        code="""
os.mkdir(P["folder"] + "/flood")
TOLD["files"] = 0
def flood():
    for index in range(P["count"]):
        os.close(os.open(f"{P['folder']}/flood/{index}", os.O_CREAT | os.O_WRONLY))
        TOLD["files"] += 1
attempt("flood", flood)
""",
        params=lambda host: {"folder": "/tmp", "count": 200_000},
        limits={"memory_bytes": 512 * _MB},
        statuses=("ok", "oom", "killed"),
        allowed=("flood",),
        harmless="bubblewrap has no inode limit: the inodes are memory, charged to the task's "
        "cgroup where there is one, and gone with the sandbox.",
        control=Control(("flood",), lambda host: {"folder": str(host.folder), "count": 5_000}),
    ),
    Row(
        10, "host_files", "Find the host's files, homes, engine socket.",
        everywhere("mount namespace"),
        code="""
for path in P["paths"]:
    attempt(path, os.lstat, path)
    attempt(P["root"] + path, os.lstat, P["root"] + path)
for path in P["closed"]:
    attempt("open " + path, lambda: os.close(os.open(path, os.O_RDONLY)))
""",
        params=lambda host: {
            "paths": host.paths(), "root": "/proc/1/root",
            "closed": ["/etc/shadow", "/etc/gshadow", "/root", str(Path.home())],
        },
        control=Control(
            ("*",),
            lambda host: {
                "paths": host.paths()[:3], "root": "/proc/self/root",
                "closed": [str(Path.home())],
            },
        ),
    ),
    Row(
        23, "own_programs", "Run a program from /tmp, and one from memory alone.",
        walls("noexec tmpfs for the file; nothing for memory", "nothing"),
        code="""
import shutil, subprocess
def status(argv, **more):
    text = subprocess.check_output(argv, text=True, **more)
    rows = dict(line.split(":\\t", 1) for line in text.splitlines() if ":\\t" in line)
    return {key: rows[key] for key in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
path = P["folder"] + "/own-cat"
shutil.copy("/bin/cat", path)
memory = os.memfd_create("cat")
with open("/bin/cat", "rb") as file:
    os.write(memory, file.read())
def run_file():
    TOLD["file"] = status([path, "/proc/self/status"])
def run_memory():
    TOLD["memory"] = status([f"/proc/self/fd/{memory}", "/proc/self/status"], pass_fds=[memory])
TOLD["own"] = status(["/bin/cat", "/proc/self/status"])
attempt("file", run_file)
attempt("memory", run_memory)
""",
        params=lambda host: {"folder": "/tmp"},
        allowed=("file", "memory"),
        harmless="Python is a program of the task's choice already; another one has the same "
        "user, no capabilities, no new privileges and the same filter, which the test compares.",
        check=_same_walls,
        control=Control(("file", "memory"), lambda host: {"folder": str(host.folder)}),
    ),
    Row(
        24, "installation", "Change the standard library, the packages, the runner, /etc.",
        everywhere("read-only root"),
        code=f"""
import packaging
P["files"] += [os.__file__, packaging.__file__] if P["inside"] else []
P["folders"] += [os.path.dirname(os.__file__), *sys.path[-1:]] if P["inside"] else []
{_WRITE}
""",
        params=lambda host: {
            "inside": True,
            "files": ["/etc/passwd", "/etc/hosts", "/usr/bin/env", "/run/uaol/runner.pyc"],
            "folders": ["/", "/etc", "/usr", "/usr/lib", "/opt", "/run", "/run/uaol", "/dev",
                        "/proc", "/sys", "/var", "/home", "/root", "/data"],
        },
        control=Control(
            ("change *", "make in *"),
            lambda host: {"inside": False, "files": [str(host.secret)],
                          "folders": [str(host.folder)]},
        ),
    ),
    Row(
        25, "outputs_that_point", "Leave links to secrets, FIFOs, sockets, locked folders.",
        everywhere("collector inside opens regular files only, without following"),
        code=_ODD,
        params=lambda host: {"secret": "/etc/passwd"},
        allowed=("*",),
        harmless="They can be made; each is dropped and reported.",
        check=_only_good,
        control=Control(
            ("a secret", "environ"),
            lambda host: {"secret": str(host.secret)},
            # a plain reader of the same folder gets the secret
            leaves=(("a secret", "secret"),),
        ),
    ),
    Row(
        26, "bombs", "Leave a zip, gzip, PNG and SVG that unfold to a thousand times their size.",
        everywhere("nothing is unpacked or drawn on the host; size caps"),
        code="""
import gzip, hashlib, struct, zipfile, zlib
with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("zeros", bytes(P["size"]))
with gzip.open("bomb.csv.gz", "wb") as file:
    file.write(bytes(P["size"]))
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
with open("bomb.png", "wb") as file:
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    file.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head)
               + chunk(b"IDAT", zlib.compress(bytes(P["size"]))) + chunk(b"IEND", b""))
with open("bomb.svg", "w") as file:
    lines = ["<!DOCTYPE svg [<!ENTITY e0 'x'>"]
    lines += [f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 10)]
    file.write("\\n".join([*lines, "]><svg><text>&e9;</text></svg>"]))
for what in ("bomb.zip", "bomb.csv.gz", "bomb.png", "bomb.svg"):
    with open(what, "rb") as file:
        TOLD[what] = hashlib.sha256(file.read()).hexdigest()
TRIED["bombs"] = "done"
""",
        params=lambda host: {"size": _BOMB},
        allowed=("bombs",),
        harmless="Any file may be made; the host passes bytes on and looks into none.",
        check=_bombs_are_sealed,
        control=Control(reason="The test reads the archive's head: it is a bomb."),
    ),
    Row(
        38, "moved_output", "Put a link in the place of the output folder.",
        everywhere("the collector holds the folder it opened first"),
        code="""
attempt("move", os.rename, "/task/output", "/task/moved")
attempt("link", os.symlink, "/etc", "/task/output")
""",
        allowed=("move", "link"),
        harmless="The folder that is collected is the one opened before user code ran.",
        check=_no_files,
        control=Control(reason="Both attempts succeed inside."),
    ),
    Row(
        39, "many_outputs", "Leave 10,000 files.",
        everywhere("count cap of the collector; one line for the rest"),
        code="""
TOLD["made"] = 0
def make():
    for index in range(10_000):
        os.close(os.open(f"{index:05}", os.O_CREAT | os.O_WRONLY))
        TOLD["made"] += 1
attempt("10,000 files", make)
""",
        limits={"files": 50},
        allowed=("10,000 files",),
        harmless="They can be made where the inode limit allows; the first 50 are collected.",
        check=_counted,
        control=Control(reason="The attempt succeeds inside."),
    ),
    Row(
        40, "odd_names", "Leave names that are not UTF-8, break lines, turn text round, go deep.",
        everywhere("names are checked inside, and again on the host"),
        code="""
def make(raw):
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
def deep():
    folder = "."
    for _ in range(30):
        folder += "/d"
        os.mkdir(folder)
    make(folder + "/file")
names = [b"bad-\\xff", b"\\xc3", b"new\\nline", b"carriage\\rreturn", b"tab\\t", b"bell\\x07",
         b"\\x1b[2Jclear", "turned\\u202etxt.exe".encode(), "zero\\u200bwidth".encode(),
         b"back\\\\slash", b"..\\\\up", b"..good", "\\u00fcn\\u00ef.txt".encode(),
         b"\\xed\\xa0\\x80"]
for raw in names:
    attempt(ascii(raw), make, raw)
os.makedirs("/".join(["long" * 50] * 3))
attempt("long", make, "/".join(["long" * 50] * 3) + "/file")
attempt("deep", deep)
""",
        allowed=("*",),
        harmless="They can be made; each is dropped and reported in plain characters.",
        check=_names_are_plain,
        control=Control(reason="The attempts succeed inside."),
    ),
    Row(
        41, "sparse_outputs", "Leave a file that is all hole, larger than what may be returned.",
        everywhere("size cap before reading"),
        code="""
for what in ("hole", "another"):
    with open(what, "wb") as file:
        attempt(what, os.truncate, file.fileno(), 16 * 2**20)
""",
        limits={"output_bytes": _MB},
        allowed=("hole", "another"),
        harmless="A hole takes no space; what is too large is dropped and reported.",
        check=_holes_are_dropped,
        control=Control(reason="The attempts succeed inside."),
    ),
)  # fmt: skip
