"""Which kind of room a task would like: decided by the names its code imports, cheaply.

A wrong guess costs time and nothing else: the code imports by itself what is not there yet. So
the source is only searched for import statements; to parse a stranger's program of a megabyte
would cost more than the imports.
"""

import re
from collections.abc import Iterable, Mapping

from app.sandbox.pool.types import Kind

_STATEMENT = re.compile(r"(?:^|;)[ \t]*(from|import)[ \t]+([^\n#;]{1,400})", re.MULTILINE)
# distribution, root of its modules, and what to import so that a first use is quick
_MODULES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "numpy": ("numpy", ("numpy",)),
    "pandas": ("pandas", ("pandas",)),
    "biopython": ("Bio", ("Bio", "Bio.Seq", "Bio.SeqIO")),
    "scipy": ("scipy", ("scipy",)),
    "matplotlib": ("matplotlib", ("matplotlib", "matplotlib.pyplot")),
}
# Roots that bring others along.
_STAND_ON: Mapping[str, tuple[str, ...]] = {
    "seaborn": ("matplotlib",), "pylab": ("matplotlib",), "sklearn": ("scipy",),
    "statsmodels": ("pandas",), "lightgbm": ("scipy",), "pyarrow": ("numpy",),
    "pydna": ("Bio",), "plotly": ("pandas",),
}  # fmt: skip
_SCIENCE = ("numpy", "pandas", "biopython", "scipy")
_PLOTS = (*_SCIENCE, "matplotlib")
_IDLE = {"empty": 12 * 2**20, "science": 64 * 2**20, "plots": 96 * 2**20}


def kinds_of(distributions: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds of room worth having where these distributions are installed, least first."""
    there = set(distributions)
    kinds = [Kind("empty", (), _IDLE["empty"])]
    for name, wanted in (("science", _SCIENCE), ("plots", _PLOTS)):
        modules = tuple(m for one in wanted if one in there for m in _MODULES[one][1])
        if modules != kinds[-1].imports:
            kinds.append(Kind(name, modules, _IDLE[name]))
    return tuple(kinds)


def choose(code: str, kinds: tuple[Kind, ...]) -> Kind:
    """The least of `kinds` that has all of what the code imports and any of them has."""
    known = {_root(module) for kind in kinds for module in kind.imports}
    wanted: set[str] = set()
    for root in imported(code):
        wanted.update({root, *_STAND_ON.get(root, ())} & known)
    for kind in kinds:
        if wanted <= {_root(module) for module in kind.imports}:
            return kind
    return kinds[-1]


def imported(code: str) -> set[str]:
    """The first parts of the module names in the code's import statements."""
    found: set[str] = set()
    for word, rest in _STATEMENT.findall(code):
        names = [rest] if word == "from" else rest.split(",")
        found.update(_root(name.split()[0]) for name in names if name.strip())
    return found


def _root(name: str) -> str:
    return name.partition(".")[0]
