"""The image: what is in it, what was taken away, and that the same inputs are no work twice."""

import io
import json
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.image import base_name, image_key, image_name, recipe, tools_key
from sandbox.image.build import build_image
from sandbox.image.load import has_image
from sandbox.image.old import remove_old
from sandbox.image.recipe import CONTENT_LABEL, IMAGE_LABEL, REQUIREMENTS
from sandbox.image.root import BuildError, _debootstrap, make_root
from tests.sandbox.docker.engine import docker

ROOT = Path(__file__).parents[3]


def inside(code: str) -> str:
    """What Python says in the image."""
    command = ("/usr/bin/python3", "-B", "-c", code)
    return docker("run", "--rm", "--network=none", "--read-only", image_name(), *command)


def test_it_is_named_and_labelled_by_its_inputs(engine: None) -> None:
    told = json.loads(docker("image", "inspect", image_name()))[0]
    base = json.loads(docker("image", "inspect", base_name()))[0]
    labels = told["Config"]["Labels"]
    assert labels[IMAGE_LABEL] == image_key() == image_name().partition(":")[2]
    assert labels[CONTENT_LABEL] == base["RootFS"]["Layers"][0]
    assert told["RootFS"]["Layers"][0] == base["RootFS"]["Layers"][0]


def test_a_second_build_does_nothing(engine: None, tmp_path: Path) -> None:
    before = docker("image", "inspect", "--format={{.Id}}", image_name())
    steps: list[str] = []
    assert build_image(tmp_path / "never made", progress=steps.append) == image_name()
    assert docker("image", "inspect", "--format={{.Id}}", image_name()) == before
    assert (steps, list(tmp_path.iterdir())) == ([], [])


def test_it_says_what_it_holds(engine: None) -> None:
    facts = json.loads(inside("print(open('/opt/uaol/image.json').read())"))
    pinned = [line for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
    assert facts["tools"] == tools_key()
    assert facts["interpreter"] == "/usr/bin/python3.11"
    names = {line.partition("==")[0].replace("_", "-"): line.partition("==")[2] for line in pinned}
    assert names.items() <= facts["distributions"].items()


def test_every_package_can_be_imported(engine: None) -> None:
    modules = (
        "Bio.SeqIO", "matplotlib.pyplot", "networkx", "numpy", "packaging", "pandas", "plotly",
        "scipy.stats", "seaborn", "sklearn", "statsmodels.api", "sympy",
        "bz2", "ctypes", "lzma", "sqlite3", "ssl", "zoneinfo",
    )  # fmt: skip
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\nprint('ok')"
    assert inside(f"import os; os.environ['MPLCONFIGDIR'] = '/dev/shm'\n{code}") == "ok"


def test_nothing_is_setuid_and_no_package_manager_is_left(engine: None) -> None:
    code = """
import os, shutil, stat
found = []
for folder, _, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev")):
        continue
    for name in names:
        path = os.path.join(folder, name)
        if os.lstat(path).st_mode & 0o6000 and not os.path.islink(path):
            found.append(path)
programs = ("apt", "apt-get", "dpkg", "perl", "su", "mount", "passwd", "unshare", "nsenter", "pip")
print(found, [name for name in programs if shutil.which(name)])
print([path for path in ("/var", "/home", "/root", "/etc/shadow") if os.path.exists(path)])
"""
    assert inside(code).splitlines() == ["[] []", "[]"]


def test_all_is_compiled_and_never_checked_again(engine: None) -> None:
    """A time stamp in a .pyc would not match the files' times, which are made equal."""
    code = """
import encodings, json, numpy, pandas
from importlib.util import cache_from_source
for module in (encodings, json, numpy, pandas):
    print(open(cache_from_source(module.__file__), "rb").read(8)[4:].hex())
print(open("/opt/uaol/runner.pyc", "rb").read(8)[4:].hex())
"""
    assert inside(code).split() == ["01000000"] * 5


@pytest.fixture
def repository(engine: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Names that no other build has, and what bears them removed at the end."""
    name = f"uaol-test-{secrets.token_hex(4)}"
    monkeypatch.setattr(recipe, "_NAME", name)
    yield name
    for one in (name, f"{name}-base"):
        if found := docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", one).split():
            docker("image", "rm", "--force", *found)


def imported(name: str, label: str = "", content: str = "") -> None:
    """An image of one file, made by import, as bases are."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(content or "file"))
    change = ["--change", f"LABEL {IMAGE_LABEL}={label}"] if label else []
    subprocess.run(
        ["docker", "import", *change, "-", name],
        input=archive.getvalue(), check=True, capture_output=True,
    )  # fmt: skip


def test_old_images_of_ours_go_where_nobody_uses_them(repository: str) -> None:
    for number in range(6):
        imported(f"{repository}:{number}", str(number), content=f"base {number}")
        imported(f"{repository}-base:b{number}", f"b{number}", content=f"base {number}")
    imported(f"{repository}:mine")
    docker("tag", f"{repository}:0", f"{repository}:another-name")
    imported(image_name(), image_key(), content="base now")
    imported(base_name(), recipe.base_key(), content="base now")
    user = docker("create", f"{repository}:1", "none")
    try:
        remove_old()
    finally:
        docker("rm", user)
    left = set(docker("image", "ls", "--format={{.Tag}}", repository).split())
    assert left == {image_key(), "5", "4", "3", "1", "mine", "another-name"}
    bases = set(docker("image", "ls", "--format={{.Tag}}", f"{repository}-base").split())
    assert bases == {recipe.base_key(), "b5", "b4", "b3", "b1"}


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the inputs, which may be changed."""
    keys = (recipe.base_key, recipe.image_key, recipe.tools_key)
    (tmp_path / "image").mkdir()
    for path in [*recipe.tools(), *(ROOT / "sandbox/image").iterdir()]:
        if path.is_file():
            folder = tmp_path / "image" if path.parent.name == "image" else tmp_path
            (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(recipe, "HERE", tmp_path / "image")
    steps = tuple(tmp_path / "image" / path.name for path in recipe._BASE_STEPS)
    monkeypatch.setattr(recipe, "_BASE_STEPS", steps)
    monkeypatch.setattr(recipe, "PREPARE", tmp_path / "image" / "prepare.py")
    for key in keys:
        key.cache_clear()
    yield tmp_path
    for key in keys:
        key.cache_clear()


def keys() -> tuple[str, str, str]:
    for key in (recipe.base_key, recipe.image_key, recipe.tools_key):
        key.cache_clear()
    return recipe.base_key(), recipe.image_key(), recipe.tools_key()


@pytest.mark.parametrize(
    ("changed", "which"),
    [
        ("image/requirements.txt", (True, True, False)),
        ("image/finish.py", (True, True, False)),
        ("image/root.py", (True, True, False)),
        ("image/prepare.py", (False, True, False)),
        ("runner.py", (False, True, True)),
        ("image/load.py", (False, False, False)),
    ],
)
def test_every_input_counts(inputs: Path, changed: str, which: tuple[bool, bool, bool]) -> None:
    before = keys()
    with (inputs / changed).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert tuple(a != b for a, b in zip(before, keys(), strict=True)) == which


def test_names_and_contents_of_tools_cannot_be_mixed_up(inputs: Path) -> None:
    before = recipe.tools_key()
    (inputs / "runner.py").rename(inputs / "runner2.py")
    assert keys()[2] != before


def test_the_command_says_names_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for what, answer in (("name", image_name()), ("key", image_key())):
        command = [sys.executable, "-m", "sandbox.image", "--only", what]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.strip() == answer


def test_without_the_docker_program_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BuildError, match=r"apt-get install docker\.io"):
        has_image("any")


def test_without_root_it_says_what_else_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(BuildError, match="sandbox/Dockerfile"):
        make_root(tmp_path, "", lambda _: None)


def test_all_packages_are_pinned() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert all("==" in line and " " not in line for line in lines)
    assert names == sorted(names, key=str.lower)


def test_debian_is_not_taken_without_its_signature(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """debootstrap alone goes on where it has no keyring."""
    command: list[str] = []
    monkeypatch.setattr("sandbox.image.root.shutil.which", lambda name, path: name)
    monkeypatch.setattr("sandbox.image.root._run", lambda asked, _: command.extend(asked))
    _debootstrap(tmp_path, "http://mirror.example")
    assert command[:2] == ["debootstrap", "--force-check-gpg"]
