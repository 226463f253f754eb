"""What is asked for beside the code: packages that are none."""

import pytest
from packaging.requirements import Requirement

from app.kernel.errors import AppError, Code
from tests.sandbox.abuse.conftest import Run, Seen

pytestmark = pytest.mark.anyio

_URLS = (
    "numpy @ https://192.0.2.1/numpy-1.0-py3-none-any.whl",
    "numpy @ git+https://192.0.2.1/numpy.git",
    "numpy @ file:///etc/passwd",
    "numpy[all]",
)
_OTHERS = (
    "-r /etc/passwd", "--requirement=/etc/passwd", "-e .", "--editable=git+https://192.0.2.1/x",
    "--index-url=https://192.0.2.1/simple", "-i https://192.0.2.1/simple", "--find-links=/tmp",
    "--extra-index-url https://192.0.2.1", "--trusted-host 192.0.2.1", "--no-binary :all:",
    "--config-settings=x=y", "--pre", "git+https://192.0.2.1/x.git", "https://192.0.2.1/x.whl",
    "file:///tmp/x.whl", "./x", "../x", "/tmp/x.whl", "./x.tar.gz", "numpy --hash=sha256:0",
    "numpy\n--index-url=https://192.0.2.1", "numpy\r-r /etc/passwd", "numpy # x\n-e .", "numpy;",
    "numpy\\\n-e .", "${HOME}", "$(id)", "`id`", "numpy && id", "numpy | id", "numpy\0", "", " ",
    "numpy==1 ; exec('x')", "n\u00fcmpy", "numpy=1", "../../etc/passwd==1", "-", "--",
)  # fmt: skip


@pytest.mark.parametrize("text", [*_URLS, *_OTHERS])
async def test_requirements(run: Run, seen: Seen, text: str) -> None:
    with pytest.raises(AppError) as caught:
        await run("print(1)", requirements=(text,))
    assert caught.value.code is Code.INVALID_INPUT
    seen()


@pytest.mark.parametrize("text", _URLS)
def test_a_parser_of_names_would_let_them_pass(text: str) -> None:
    assert Requirement(text).name == "numpy"
