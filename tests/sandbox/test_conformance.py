"""What every executor must do for honest code, and for code that goes too far."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import Sandbox, TaskSpec
from tests.sandbox.conftest import Run, timed_out
from tests.sandbox.test_faults import is_running, sleeper, until

pytestmark = pytest.mark.anyio


async def test_prints_and_reports_usage(run: Run) -> None:
    result = await run("import sys; print('hello'); print('there', file=sys.stderr)")
    assert (result.status, result.exit_code) == ("ok", 0)
    assert (result.stdout, result.stderr) == ("hello\n", "there\n")
    assert result.usage.wall_s > 0
    assert result.usage.peak_memory_bytes > 2**20
    assert result.executor


async def test_traceback_shows_only_user_code(run: Run) -> None:
    result = await run("def divide(x):\n    return 1 / x\n\ndivide(0)\n")
    assert (result.status, result.exit_code) == ("error", 1)
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert 'File "/task/task.py", line 4, in <module>' in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "runner" not in result.stderr


@pytest.mark.parametrize(
    ("code", "exit_code", "stderr"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('bad')", 1, "bad\n"),
        ("raise SystemExit", 0, ""),
        ("import os; os._exit(3)", 3, ""),
    ],
)
async def test_exit_codes_are_the_shells(run: Run, code: str, exit_code: int, stderr: str) -> None:
    result = await run(code)
    assert (result.exit_code, result.stderr) == (exit_code, stderr)
    assert result.status == ("ok" if exit_code == 0 else "error")


async def test_syntax_error_is_the_tasks_error(run: Run) -> None:
    result = await run("def broken(:\n")
    assert result.status == "error"
    assert "SyntaxError" in result.stderr


async def test_threads_and_exit_handlers_finish(run: Run) -> None:
    code = (
        "import atexit, threading\n"
        "atexit.register(lambda: print('bye'))\n"
        "gate = threading.Event()\n"
        "threading.Thread(target=lambda: (gate.wait(5), print('thread'))).start()\n"
        "gate.set()\n"
    )
    result = await run(code)
    assert sorted(result.stdout.split()) == ["bye", "thread"]


async def test_child_processes_have_the_same_packages(run: Run) -> None:
    code = (
        "import subprocess, sys, packaging\n"
        "print(subprocess.check_output([sys.executable, '-c',"
        " 'import packaging; print(packaging.__file__)'], text=True).strip()"
        " == packaging.__file__)"
    )
    assert (await run(code)).stdout == "True\n"


async def test_files_go_in_and_come_out(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "stored-under-another-name"
    source.write_bytes(bytes(range(256)) * 1000)
    code = (
        "import os, pathlib\n"
        "data = open('/task/input/data.bin', 'rb').read()\n"
        "os.makedirs('/task/output/sub')\n"
        "open('/task/output/sub/copy.bin', 'wb').write(data)\n"
        "open('relative.txt', 'w').write('x')\n"
        "print(oct(os.stat('/task/input/data.bin').st_mode & 0o222))\n"
    )
    result = await run(code, inputs={"data.bin": source})
    assert (result.status, result.stdout, result.dropped) == ("ok", "0o0\n", ())
    assert [file.name for file in result.files] == ["relative.txt", "sub/copy.bin"]
    copy = result.files[1]
    assert copy.content == source.read_bytes()
    assert copy.sha256 == hashlib.sha256(copy.content).hexdigest()
    assert copy.size == 256_000


async def test_outputs_of_failed_code_are_kept(run: Run) -> None:
    result = await run("open('half.txt', 'w').write('half'); raise RuntimeError")
    assert result.status == "error"
    assert [file.name for file in result.files] == ["half.txt"]


async def test_missing_input_is_a_clear_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        await run("pass", inputs={"a": tmp_path / "absent"})
    assert caught.value.code is Code.INVALID_INPUT
    assert str(tmp_path) not in caught.value.message


async def test_wall_time_ends_code_that_ignores_signals(run: Run) -> None:
    code = (
        "import signal\n"
        "for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "print('waiting', flush=True)\n"
        "while True: signal.pause()\n"
    )
    result = await timed_out(lambda wall_s: run(code, wall_s=wall_s), 0.5)
    assert (result.status, result.stdout) == ("timeout", "waiting\n")
    assert result.usage.wall_s > 0


async def test_cpu_time_ends_a_busy_loop(run: Run) -> None:
    result = await run("while True: pass", cpu_s=1)
    assert result.status == "timeout"
    assert result.usage.cpu_s > 0


async def test_too_much_memory_is_oom(run: Run) -> None:
    result = await run("data = bytearray(2**31)", memory_bytes=2**29)
    assert result.status == "oom"
    assert "MemoryError" in result.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_endless_output_is_cut(run: Run, stream: str) -> None:
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 1000)"
    result = await run(code, stdout_bytes=10_000)
    assert result.status == "output_limit"
    assert getattr(result, stream) == "x" * 10_000
    assert getattr(result, f"is_{stream}_truncated")


async def test_output_of_just_the_limit_is_whole(run: Run) -> None:
    result = await run("print('x' * 99)", stdout_bytes=100)
    assert (result.status, result.is_stdout_truncated) == ("ok", False)


async def test_cancel_kills(sandbox: Sandbox) -> None:
    code = "import signal\nwhile True: signal.pause()"
    running = asyncio.ensure_future(sandbox.run(TaskSpec("doomed", code)))
    while not running.done():
        await sandbox.cancel("other")
        await sandbox.cancel("doomed")
        await asyncio.sleep(0.01)
    assert (await running).status == "killed"


async def test_a_daemon_does_not_outlive_its_task(run: Run) -> None:
    mark, _ = sleeper()
    code = (
        "import os\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        f"        os.execvp('sleep', ['sleep', '{mark}'])\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print('done')\n"
    )
    result = await run(code)
    assert (result.status, result.stdout) == ("ok", "done\n")
    # it is killed by then, and has gone when a processor has had time for that
    await until(lambda: not is_running(mark))


async def test_requirements_are_checked_against_what_is_there(run: Run) -> None:
    result = await run("import packaging; print('ok')", requirements=("packaging>=20",))
    assert result.stdout == "ok\n"
    with pytest.raises(AppError) as caught:
        await run("pass", requirements=("packaging", "no-such-package-at-all"))
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert caught.value.details["missing"] == ["no-such-package-at-all"]


async def test_same_code_same_output(run: Run) -> None:
    code = "print(list({'guide', 'pam', 'spacer', 'exon'}), hash('x'))"
    assert (await run(code)).stdout == (await run(code)).stdout
