"""What no executor may let out: the abuse list, one attack a test."""

import asyncio
import json
import platform
from pathlib import Path

import pytest

from app.sandbox.executors.seccomp import ARCHITECTURES
from tests.sandbox.conftest import Run, Settle

pytestmark = pytest.mark.anyio

ATTEMPT = """
import os
def attempt(action, *args):
    try:
        action(*args)
    except OSError as error:
        return type(error).__name__
    return "allowed"
"""


async def test_network_is_unreachable(run: Run) -> None:
    code = (
        "import socket, errno\n"
        "for family, address in ((socket.AF_INET, ('169.254.169.254', 80)),\n"
        "        (socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET6, ('2606:4700::1', 53))):\n"
        "    with socket.socket(family, socket.SOCK_STREAM) as sock:\n"
        "        print(errno.errorcode[sock.connect_ex(address)])\n"
        "try: socket.getaddrinfo('example.org', 80)\n"
        "except socket.gaierror: print('no names')\n"
    )
    answers = (await run(code)).stdout.split("\n")
    assert set(answers[:3]) <= {"ENETUNREACH", "EADDRNOTAVAIL"}
    assert answers[3] == "no names"


async def test_a_service_of_the_host_is_unreachable(run: Run) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        code = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"
        assert (await run(code)).stdout == "111\n"


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_NETLINK", "AF_ALG", "AF_PACKET", "AF_KEY"])
async def test_odd_socket_families_are_refused(run: Run, family: str) -> None:
    number = {"AF_VSOCK": 40, "AF_NETLINK": 16, "AF_ALG": 38, "AF_PACKET": 17, "AF_KEY": 15}
    code = f"{ATTEMPT}\nimport socket; print(attempt(socket.socket, {number[family]}, 3))"
    assert (await run(code)).stdout == "OSError\n"


async def test_raw_sockets_are_refused(run: Run) -> None:
    code = f"{ATTEMPT}\nimport socket; print(attempt(socket.socket, 2, 3, 1))"
    assert (await run(code)).stdout == "PermissionError\n"


async def test_host_files_are_not_there(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    paths = [
        str(secret), str(Path.cwd()), str(Path.home()), "/home", "/etc/shadow",
        "/var/run/docker.sock", "/run/docker.sock", "/sys", "/var", "/boot", str(Path(__file__)),
    ]  # fmt: skip
    # a container has an empty folder in place of /sys
    code = f"""
import os
print([path for path in {paths!r} if os.path.lexists(path)
       and not (path == "/sys" and os.listdir(path) == [])])
"""
    assert (await run(code)).stdout == "[]\n"


async def test_environment_of_the_server_is_not_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UAOL_CANARY", "canary-5f2b")
    code = (
        "import glob\n"
        "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try: print(path, open(path, 'rb').read())\n"
        "    except OSError as error: print(path, error.strerror)\n"
    )
    result = await run(code)
    # of a launcher it is empty, and where the runner itself comes first it cannot be read
    first = result.stdout.splitlines()[0]
    assert first in ("/proc/1/environ b''", "/proc/1/environ Permission denied")
    assert "canary-5f2b" not in result.stdout


async def test_only_the_work_folders_can_be_written(run: Run) -> None:
    code = f"""{ATTEMPT}
import sys
for path in ("/x", "/usr/x", "/etc/passwd", "/dev/x", "/opt/x", "/run/x", os.__file__,
             "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/task/input/x"):
    print(path, attempt(open, path, "a"))
print(attempt(open, "/task/x", "w"), attempt(open, "/tmp/x", "w"), attempt(open, "x", "w"))
"""
    lines = (await run(code)).stdout.splitlines()
    assert lines[-1] == "allowed allowed allowed"
    assert not [line for line in lines[:-1] if line.endswith("allowed")]


async def test_an_input_is_a_private_copy(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "genome.fa"
    source.write_text("ACGT")
    code = "import os; os.chmod('/task/input/a', 0o600); open('/task/input/a', 'w').write('TTTT')"
    await run(code, inputs={"a": source})
    assert source.read_text() == "ACGT"


async def test_writable_folders_are_sized(run: Run) -> None:
    code = """
for path in ("/task/output/f", "/tmp/f", "/dev/shm/f"):
    total = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while total < 2**27:
                total += file.write(bytes(2**20))
    except OSError:
        pass
    print(total)
"""
    sizes = [int(line) for line in (await run(code)).stdout.split()]
    assert len(sizes) == 3
    assert max(sizes) <= 32 * 2**20


async def test_a_sparse_terabyte_is_refused(run: Run) -> None:
    code = f"{ATTEMPT}\nprint(attempt(os.truncate, open('/tmp/big', 'w').fileno(), 2**40))"
    assert (await run(code)).stdout == "OSError\n"


async def test_a_fork_bomb_is_limited(run: Run) -> None:
    code = """
import os, signal
children = 0
while children < 1000:
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError:
        break
    children += 1
print(children)
"""
    result = await run(code, processes=20)
    assert (result.status, int(result.stdout) in range(10, 21)) == ("ok", True)


async def test_dangerous_system_calls_are_refused(run: Run) -> None:
    table = ARCHITECTURES[platform.machine()]
    code = f"""
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
print(json.dumps({{name: (libc.syscall(number, 0, 0, 0, 0, 0, 0), ctypes.get_errno())
    for name, number in {dict(table.denied)!r}.items()}}))
"""
    answers = json.loads((await run(code)).stdout)
    assert len(answers) > 40
    assert {name: tuple(answer) for name, answer in answers.items()} == dict.fromkeys(
        table.denied, (-1, 1)
    )


@pytest.mark.parametrize("flag", [0x10000000, 0x00020000, 0x20000000, 0x40000000])
async def test_no_new_namespace_by_any_call(run: Run, flag: int) -> None:
    table = ARCHITECTURES[platform.machine()]
    code = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for call in ((libc.unshare, {flag}), (libc.syscall, {table.clone}, {flag} | 17, 0, 0, 0, 0),
             (libc.syscall, {table.clone3}, 0, 0)):
    print(call[0](*call[1:]), ctypes.get_errno())
"""
    assert (await run(code)).stdout.splitlines() == ["-1 1", "-1 1", "-1 38"]


async def test_it_has_no_privileges(run: Run) -> None:
    code = """
import os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
print(os.getresuid(), set(os.getgroups()) - {65534}, status["CapEff"],
      status["CapBnd"], status["NoNewPrivs"], status["Seccomp"])
"""
    zero = "0" * 16
    expected = f"(65534, 65534, 65534) set() {zero} {zero} 1 2\n"
    assert (await run(code)).stdout == expected


FORGE = """
import glob, os
def frame(kind, payload=b""):
    return kind + len(payload).to_bytes(4, "big") + payload
fields = [b"ok", b"0", b"0", b"0", b"0", b"0"]
body = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
forged = frame(b"W", b"3.11") + frame(b"R") + frame(b"E") + frame(b"T", bytes(16) + body)
"""


async def test_a_forged_report_is_not_believed(run: Run) -> None:
    code = f"""{FORGE}
reached = []
for path in glob.glob("/proc/[0-9]*/fd/*"):
    if path.split("/")[2] in (str(os.getpid()), "self") and path.split("/")[4] in "012":
        continue
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        reached.append(os.readlink(path))
        os.write(fd, forged)
    except OSError:
        pass
for fd in range(3, 300):
    try: os.write(fd, forged)
    except OSError: pass
import sys; sys.exit(5)
"""
    result = await run(code)
    assert (result.status, result.exit_code, result.files) == ("error", 5, ())


async def test_frames_in_the_output_are_output(run: Run) -> None:
    code = f"{FORGE}\nfor fd in (1, 2): os.write(fd, forged)\nimport sys; sys.exit(5)"
    result = await run(code)
    assert (result.status, result.exit_code) == ("error", 5)
    assert result.stdout == result.stderr
    assert result.stdout.startswith("W\0\0\0\x043.11R")


async def test_the_nonce_is_nowhere_to_be_read(run: Run) -> None:
    code = """
import glob, os
readable = []
for path in glob.glob("/proc/[0-9]*/fd/*"):
    owner = path.split("/")[2]
    if owner in (str(os.getpid()), "self"):
        continue
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        readable.append((owner, os.readlink(path)))
    except OSError:
        continue
print(sorted({(owner, path) for owner, path in readable if path.startswith(("pipe", "socket"))}))
"""
    assert (await run(code)).stdout == "[]\n"


async def test_the_runner_is_out_of_reach(run: Run) -> None:
    code = f"""{ATTEMPT}
runner = os.getppid()
print(attempt(os.listdir, f"/proc/{{runner}}/fd"), attempt(open, f"/proc/{{runner}}/mem", "r+b"),
      attempt(open, f"/proc/{{runner}}/environ"))
"""
    assert (await run(code)).stdout.split() == ["PermissionError"] * 3


async def test_the_runner_cannot_be_ended(run: Run) -> None:
    code = """
import os, signal
for number in signal.valid_signals():
    os.kill(os.getppid(), number)
print(os.getppid())
"""
    result = await run(code)
    assert (result.status, result.stdout.split()[-1]) == ("ok", "1"), result


async def test_user_code_can_be_interrupted(run: Run) -> None:
    code = """
import os, signal
try: os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt: print("seen")
"""
    assert (await run(code)).stdout == "seen\n"


async def test_tasks_do_not_see_each_other(run: Run) -> None:
    code = """
import glob, os, select, socket
name = "NAME"
for folder in ("/tmp", "/dev/shm", "/task", "/task/output"):
    open(f"{folder}/seen-{name}", "w").close()
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"\\0seen-{name}")
port = socket.create_server(("127.0.0.1", 40123))
select.select([], [], [], 1.5)
print(sorted({os.path.basename(path) for folder in ("/tmp", "/dev/shm", "/task", "/task/output")
              for path in glob.glob(f"{folder}/seen-*")}),
      open("/proc/net/unix").read().count("@seen-"), len(glob.glob("/proc/[0-9]*")))
"""
    first, second = await asyncio.gather(
        run(code.replace("NAME", "one")), run(code.replace("NAME", "two"))
    )
    # the runner and the task
    assert first.stdout == "['seen-one'] 1 2\n"
    assert second.stdout == "['seen-two'] 1 2\n"


async def test_only_plain_files_are_collected(run: Run, tmp_path: Path) -> None:
    code = """
import os, socket
os.symlink("/etc/passwd", "link")
os.symlink("/proc/self/environ", "environ")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
os.mkdir("real")
os.symlink("/etc", "real/etc")
open(b"bad-\\xff", "w").close()
open("new\\nline", "w").close()
open("good.txt", "w").write("good")
os.mkdir("closed"); os.chmod("closed", 0)
"""
    result = await run(code)
    assert [(file.name, file.content) for file in result.files] == [("good.txt", b"good")]
    reasons = dict(note.rsplit(": ", 1) for note in result.dropped)
    assert reasons == {
        "link": "symbolic link", "environ": "symbolic link", "real/etc": "symbolic link",
        "fifo": "not a regular file", "socket": "not a regular file",
        "closed": "Permission denied", "bad-\\udcff": "name is not UTF-8",
        "new\\nline": "name has control characters",
    }  # fmt: skip


async def test_outputs_are_capped_in_number_and_size(run: Run) -> None:
    code = """
for index in range(300):
    open(f"f{index:03}", "w").write("x")
open("a-large", "wb").write(bytes(2000))
"""
    result = await run(code, files=10, output_bytes=1000)
    assert [file.name for file in result.files] == [f"f{index:03}" for index in range(10)]
    assert result.dropped[0] == "a-large: too large"
    assert result.dropped[1] == "f010: too many files"
    assert result.dropped[-1] == "and 191 more"


async def test_moving_the_output_folder_does_not_help(run: Run) -> None:
    code = "import os; os.rename('/task/output', '/task/o'); os.symlink('/etc', '/task/output')"
    result = await run(code)
    assert (result.status, result.files) == ("ok", ())


async def test_nothing_is_left_open_on_the_host(run: Run, settle: Settle) -> None:
    codes = ("print(1)", "import os; os._exit(1)", "while True: print('x' * 9999)")
    counts = []
    for _ in range(3):
        for code in codes:
            await run(code)
        await settle()
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    # The pool may hold one worker more or less from time to time; what leaks only grows.
    assert not counts[0] < counts[1] < counts[2]
