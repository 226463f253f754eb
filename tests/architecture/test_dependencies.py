"""Whoever installs the platform without extras gets all that it needs to start."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The tool servers' libraries, in processes of their own; some come with the core's as well.
BUNDLED = "bio"
START = "import app.main, app.wiring, app.cli.demo, app.cli.serve, app.cli.sandboxd, app.cli.doctor"


def _optional() -> list[str]:
    """The modules of what only extras name."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = declared["optional-dependencies"]
    wanted = {
        re.split(r"[\[;<>=! ]", line)[0].lower()
        for extra, lines in extras.items()
        for line in lines
        if extra != BUNDLED
    }
    return sorted(
        module
        for module, names in packages_distributions().items()
        if wanted & {name.lower() for name in names}
    )


def test_the_platform_starts_without_extras() -> None:
    optional = _optional()
    assert {"aiohttp", "boto3", "hvac", "kubernetes", "pytest"} <= set(optional)
    hidden = f"import sys; sys.modules.update(dict.fromkeys({optional}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; {START}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_executor_whose_packages_are_missing_says_how_to_get_them() -> None:
    hidden = "import sys; sys.modules['aiohttp'] = None"
    asked = (
        "from app.kernel.errors import AppError\n"
        "from app.sandbox.executors import make_executors\n"
        "try: make_executors('kubernetes')\n"
        "except AppError as error: print(error.code.value, error.message, error.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}\n{asked}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "config_invalid" in done.stdout
    assert "`aiohttp`" in done.stdout
    assert "uaol[kubernetes]" in done.stdout
