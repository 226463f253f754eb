"""The walls hold, and each of them is seen to catch what it is there for."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "biotools")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
CONTRACTS: list[dict[str, Any]] = SETTINGS["importlinter"]["contracts"]
_LINT = "from importlinter.cli import lint_imports_command as run; run()"


@dataclass(frozen=True, slots=True)
class Violation:
    """Lines added to the end of files, by path, and what the report must name."""

    contract: str
    lines: dict[str, str]
    named: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.named.splitlines()[-1]}"


def _one(contract: str, path: str, line: str, named: str) -> Violation:
    return Violation(contract, {path: line}, named)


VIOLATIONS = [
    _one(
        "layers",
        "app/auth/cache.py",
        "from app.billing import Billing",
        "app.auth.cache -> app.billing",
    ),
    _one("layers", "app/kernel/ids.py", "import app.auth", "app.kernel.ids -> app.auth"),
    _one(
        "layers",
        "app/billing/types.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import app.orchestration",
        "app.billing.types -> app.orchestration",
    ),
    _one(
        "layers",
        "app/proxy/faults.py",
        "def later():\n    from app.agents import graph",
        "app.proxy.faults -> app.agents.graph",
    ),
    _one("layers", "app/reports/__init__.py", "", "not listed as layers:\n\n- app.reports"),
    _one(
        "facades",
        "app/orchestration/lifecycle.py",
        "import app.billing.store",
        "app.orchestration.lifecycle -> app.billing.store",
    ),
    _one(
        "facades",
        "app/main.py",
        "from app.sandbox.executors.bubblewrap import BubblewrapExecutor",
        "app.main -> app.sandbox.executors.bubblewrap",
    ),
    _one(
        "surfaces",
        "app/surfaces/http/jobs.py",
        "import app.surfaces.mcp.tasks",
        "app.surfaces.http.jobs -> app.surfaces.mcp.tasks",
    ),
    _one(
        "surfaces",
        "app/surfaces/mcp/tasks.py",
        "import app.surfaces.http.jobs",
        "app.surfaces.mcp.tasks -> app.surfaces.http.jobs",
    ),
    _one(
        "acyclic",
        "app/billing/types.py",
        "import app.billing.service",
        "No cycles are allowed in app.billing.",
    ),
    _one(
        "acyclic",
        "biotools/letters.py",
        "import biotools.records",
        "No cycles are allowed in biotools.",
    ),
    _one(
        "biotools",
        "biotools/letters.py",
        "import app.kernel.errors",
        "biotools.letters -> app.kernel.errors",
    ),
    _one(
        "biotools",
        "app/agents/routing.py",
        "import biotools.letters",
        "app.agents.routing -> biotools.letters",
    ),
    _one("tools-no-db", "biotools/files.py", "import psycopg", "biotools.files -> psycopg"),
    _one("tools-no-db", "biotools/files.py", "import sqlalchemy", "biotools.files -> sqlalchemy"),
    _one(
        "other-road",
        "biotools/verify/bases.py",
        "import biotools.crispr.scan",
        "biotools.verify.bases -> biotools.crispr.scan",
    ),
    _one(
        "other-road",
        "biotools/verify/bases.py",
        "import biotools.cloning",
        "biotools.verify.bases -> biotools.cloning",
    ),
    Violation(
        "other-road",
        {
            "biotools/shortcut.py": "import biotools.sequence",
            "biotools/verify/bases.py": "import biotools.shortcut",
        },
        "biotools.shortcut -> biotools.sequence",
    ),
    _one(
        "sql",
        "app/billing/service.py",
        "from sqlalchemy import text",
        "app.billing.service -> sqlalchemy",
    ),
    _one("sql", "app/surfaces/views.py", "import psycopg", "app.surfaces.views -> psycopg"),
    _one(
        "sql",
        "app/kernel/ids.py",
        "from psycopg.types.json import Jsonb",
        "app.kernel.ids -> psycopg",
    ),
    _one(
        "web",
        "app/orchestration/worker.py",
        "import fastapi",
        "app.orchestration.worker -> fastapi",
    ),
    _one(
        "web",
        "app/proxy/service.py",
        "import starlette.requests",
        "app.proxy.service -> starlette",
    ),
    _one("web", "app/cli/serve.py", "import uvicorn", "app.cli.serve -> uvicorn"),
    _one(
        "graph",
        "app/agents/walk.py",
        "from langgraph.graph import END",
        "app.agents.walk -> langgraph",
    ),
    _one(
        "tx",
        "app/orchestration/worker.py",
        "import app.kernel.db",
        "app.orchestration.worker -> app.kernel.db",
    ),
    _one(
        "tx",
        "app/billing/service.py",
        "from app.kernel.db import Database",
        "app.billing.service -> app.kernel.db",
    ),
    _one(
        "tx",
        "app/surfaces/http/jobs.py",
        "def late():\n    from app.kernel import db",
        "app.surfaces.http.jobs -> app.kernel.db",
    ),
    *(
        _one(
            "no-gpl",
            "app/agents/walk.py",
            f"def late():\n    import {library}",
            f"app.agents.walk -> {library}",
        )
        for contract in CONTRACTS
        if contract["id"] == "no-gpl"
        for library in contract["forbidden_modules"]
    ),
]


def _lint(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    # Run in the folder, so that the packages found there come before the installed ones.
    return subprocess.run(
        [sys.executable, "-c", _LINT, "--no-logo", "--no-cache", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product's source, where violations may be planted."""
    folder = tmp_path_factory.mktemp("twin")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return folder


@pytest.fixture
def planted(twin: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The copy with one violation in it, which is taken out again."""
    violation: Violation = request.param
    before: dict[Path, str | None] = {}
    for name, line in violation.lines.items():
        path = twin / name
        before[path] = path.read_text(encoding="utf-8") if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{before[path] or ''}\n{line}\n", encoding="utf-8")
    yield twin
    for path, text in before.items():
        if text is None:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        else:
            path.write_text(text, encoding="utf-8")


def test_the_walls_hold() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_the_copy_is_whole(twin: Path) -> None:
    done = _lint(twin)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_wall_has_a_hole() -> None:
    holes = {"ignore_imports", "unmatched_ignore_imports_alerting", "exhaustive_ignores"}
    assert not [each["id"] for each in CONTRACTS if holes & each.keys()]
    assert "exclude_type_checking_imports" not in SETTINGS["importlinter"]
    layers = next(each for each in CONTRACTS if each["id"] == "layers")
    assert layers["exhaustive"] is True


@pytest.mark.parametrize("contract", [each["id"] for each in CONTRACTS])
def test_a_wall_is_proven(contract: str) -> None:
    assert contract in {each.contract for each in VIOLATIONS}, "plant a violation of it here"


@pytest.mark.parametrize(
    ("planted", "violation"),
    [(each, each) for each in VIOLATIONS],
    ids=[str(each) for each in VIOLATIONS],
    indirect=["planted"],
)
def test_a_violation_is_caught(planted: Path, violation: Violation) -> None:
    done = _lint(planted, "--contract", violation.contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 0 kept, 1 broken." in done.stdout
    assert violation.named in done.stdout.partition("Broken contracts")[2]


def _ruff(*arguments: str, source: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", *arguments],
        cwd=ROOT,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "source",
    [
        'import importlib\n\nstore = importlib.import_module("app.billing.store")\n',
        'from importlib import import_module\n\nstore = import_module("app.billing.store")\n',
        'import importlib as by\n\nstore = by.import_module("app.billing.store")\n',
    ],
)
@pytest.mark.parametrize("path", ["app/auth/planted.py", "biotools/planted.py"])
def test_an_import_by_name_is_caught(source: str, path: str) -> None:
    done = _ruff("--output-format=concise", "--stdin-filename", path, "-", source=source)
    assert done.returncode == 1
    assert "TID251" in done.stdout


def test_nobody_imports_by_name() -> None:
    folders = [folder for folder in (*PACKAGES, "sandbox", "bench") if (ROOT / folder).is_dir()]
    done = _ruff("--ignore-noqa", "--select", "TID251", *folders)
    assert done.returncode == 0, done.stdout
