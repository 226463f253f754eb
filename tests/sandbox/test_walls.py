"""The runner stays, user code stays ordinary, outputs come in order; the attacks are in `abuse`."""

import pytest

from tests.sandbox.conftest import Run

pytestmark = pytest.mark.anyio


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
