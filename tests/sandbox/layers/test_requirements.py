"""What a task may ask for by name: everything else is refused before anything is started."""

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import Capabilities
from app.sandbox.layers import check_installed
from app.sandbox.layers.requirements import MAX_REQUIREMENTS, read_requirements

PYTHON = "3.11.7"


def refusal(*texts: str) -> AppError:
    with pytest.raises(AppError) as caught:
        read_requirements(texts, PYTHON)
    error = caught.value
    assert (error.code, error.details) == (Code.INVALID_INPUT, {"field": "requirements"})
    assert error.hint
    return error


def lines(*texts: str) -> list[str]:
    return [wanted.line for wanted in read_requirements(texts, PYTHON)]


OPTIONS = [
    "-r /etc/passwd", "-r/etc/passwd", "--requirement=/etc/passwd", "-c constraints.txt",
    "--index-url=https://example.org/simple", "--extra-index-url https://example.org", "-i x",
    "--find-links /", "-f .", "-e .", "--editable=.", "--pre", "--no-binary=:all:", "-", "--",
    "--config-settings=x", "--python=/bin/sh", "numpy --index-url=https://example.org",
    "numpy --hash=sha256:00", "numpy -r other.txt", "numpy # comment", "# numpy",
]  # fmt: skip
PLACES = [
    "git+https://example.org/x.git", "git+ssh://git@example.org/x", "hg+http://example.org/x",
    "https://example.org/x-1.0.tar.gz", "file:///etc/passwd", "pkg @ file:///etc/passwd",
    "pkg@https://example.org/pkg-1.0-py3-none-any.whl", "pkg @ git+https://example.org/x",
    "./local", "../local", "/etc/passwd", ".", "..", "~/x", "C:\\x", "x.tar.gz @ x",
    "sub/dir", "x#egg=y", "x-1.0.tar.gz/../y", "${HOME}", "$(id)", "`id`", "x;id", "x && id",
]  # fmt: skip
INJECTED = [
    "numpy\n--index-url=https://example.org", "numpy\r\n-r x", "numpy\\\n--pre", "numpy\x00",
    "numpy\x0b--pre", "numpy\x85--pre", "numpy\u2028--pre", "numpy\t\n", "\nnumpy", "numpy\x1b[2J",
]  # fmt: skip
LOOK_ALIKES = [
    "nump\u0443", "\uff4eumpy", "numpy\u200b", "nu\u00admpy", "numpy\u202e", "p\u0430ndas",
    "pandas==\u0661.0", "pandas\uff1d\uff1d1.0", "\ufb01le", "caf\u00e9",
]  # fmt: skip
FORMS = [
    "", " ", "numpy[extra]", "numpy[]", "numpy[a,b]>=1", "numpy===1.0", "numpy===@file:///x",
    "numpy=1", "numpy=>1", "numpy==", "numpy>=1;", "numpy,pandas", "numpy pandas", "numpy (>=1",
    "numpy==1.0.*.*", "_numpy", "numpy-", ".numpy", "numpy@", "numpy; rm", "numpy!1", "==1.0",
]  # fmt: skip
MARKERS = [
    "numpy; os.system('id')", "numpy; python_version", "numpy; __import__('os')",
    "numpy; python_version < 3", "numpy; python_version < '3' or", "numpy; home == 'x'",
    "numpy; environ['HOME'] == 'x'", "numpy; " + "(" * 150, "numpy; 'a' == 'a'",
]  # fmt: skip


@pytest.mark.parametrize("text", [*OPTIONS, *PLACES, *INJECTED, *LOOK_ALIKES, *FORMS, *MARKERS])
def test_only_names_with_versions_pass(text: str) -> None:
    refusal(text)


@pytest.mark.parametrize("text", ["n" * 201, "numpy" + ">=1," * 60 + "<2", "numpy>=" + "1" * 400])
def test_lengths_are_capped(text: str) -> None:
    assert len(refusal(text).message) < 400


def test_numbers_are_capped() -> None:
    refusal(*[f"package-{number}" for number in range(MAX_REQUIREMENTS + 1)])
    refusal("numpy" + ",".join(f"!=1.{number}" for number in range(11)))
    assert len(lines(*[f"package-{number}" for number in range(MAX_REQUIREMENTS)])) == 50


def test_a_refusal_shows_what_it_means_without_tricks() -> None:
    error = refusal("numpy\x1b[2J\u202e")
    assert error.message.isascii()
    assert error.message.isprintable()


def test_the_same_wish_is_written_the_same() -> None:
    assert lines("NumPy >=1 , <2", "numpy<2,>=1", "num.py", "num_py==1.0+cpu.1") == [
        "num-py", "num-py==1.0+cpu.1", "numpy<2,>=1",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a==1.*", "a~=1.2", "a!=1.0", "a>=1!2.0", "a<2.0rc1", "a>1"])
def test_version_clauses_stay(text: str) -> None:
    assert lines(text) == [text]


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("python_version < '3.10'", False),
        ("python_version >= '3.11'", True),
        ("python_full_version == '3.11.7'", True),
        ("sys_platform == 'win32'", False),
        ("sys_platform == 'linux' and os_name == 'posix'", True),
        ("extra == 'test'", False),
        # Of the machine a marker learns nothing.
        ("platform_release != ''", False),
    ],
)
def test_markers_are_decided_for_the_sandbox(marker: str, holds: bool) -> None:
    assert lines(f"numpy>=2; {marker}") == (["numpy>=2"] if holds else [])


def test_what_is_installed_meets() -> None:
    installed = {"numpy": "2.1.0", "odd": "not-a-version", "pre": "2.0rc1"}
    wanted = read_requirements(["numpy>=2", "numpy<2", "pre>=2.0rc1", "absent"], PYTHON)
    assert [(one.line, one.is_met(installed)) for one in wanted] == [
        ("absent", False), ("numpy<2", False), ("numpy>=2", True), ("pre>=2.0rc1", True),
    ]  # fmt: skip


INSTALLED = Capabilities("one", (), (), PYTHON, {"numpy": "2.1.0", "biopython": "1.85"})


@pytest.mark.parametrize(
    "text", ["numpy", "NumPy>=2", "biopython==1.85", "absent; python_version < '3.10'"]
)
def test_what_is_installed_is_enough(text: str) -> None:
    check_installed([text], INSTALLED)


@pytest.mark.parametrize("text", ["numpy<2", "pandas", "biopython==1.84"])
def test_where_nothing_can_be_added_the_rest_is_refused(text: str) -> None:
    with pytest.raises(AppError) as caught:
        check_installed(["numpy", text], INSTALLED)
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert caught.value.details["missing"] == [text]
    assert set(caught.value.details["available"]) <= {"biopython==1.85", "numpy==2.1.0"}


@pytest.mark.parametrize("text", [*MARKERS, "numpy===2.1.0", "-r other.txt"])
def test_the_same_is_no_name_where_nothing_can_be_added(text: str) -> None:
    with pytest.raises(AppError) as caught:
        check_installed([text], INSTALLED)
    assert caught.value.code is Code.INVALID_INPUT
