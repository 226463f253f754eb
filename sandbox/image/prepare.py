"""Run inside the image while it is built, last: compiles our programs and says what is there.

`/opt/uaol/image.json` is what a server asks the image for, so that it need not start it.
"""

import hashlib
import importlib.metadata
import json
import platform
import py_compile
import re
import site
import sys
from pathlib import Path

HOME = Path("/opt/uaol")


def main() -> None:
    """Compile the programs that lie in HOME, and write the facts beside them."""
    for name in ("__init__.py", Path(__file__).name):
        (HOME / name).unlink(missing_ok=True)
    programs = sorted(HOME.glob("*.py"))
    for path in programs:
        py_compile.compile(
            str(path), str(path.with_suffix(".pyc")), path.name, doraise=True, optimize=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
    facts = {
        "tools": tools_key(programs),
        "python": platform.python_version(),
        "interpreter": str(Path(sys.executable).resolve()),
        "prefix": sys.prefix,
        "sites": (sites := [path for path in site.getsitepackages() if Path(path).is_dir()]),
        "distributions": distributions(sites),
    }
    (HOME / "image.json").write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
    for path in HOME.iterdir():
        path.chmod(0o444)


def tools_key(programs: list[Path]) -> str:
    """As `sandbox/image/recipe.py` has it; there is nothing to import it from in here."""
    digest = hashlib.sha256()
    for path in programs:
        part = f"{path.name}\0{path.read_text(encoding='utf-8')}"
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:16]


def distributions(folders: list[str]) -> dict[str, str]:
    """Canonical names and versions of what can be imported."""
    found: dict[str, str] = {}
    for one in importlib.metadata.distributions(path=folders):
        if name := one.metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main()
