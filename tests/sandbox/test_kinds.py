"""Which waiting room a task's code would like."""

import pytest

from app.sandbox.pool import Kind, choose, imported, kinds_of

ALL = kinds_of(["numpy", "pandas", "biopython", "scipy", "matplotlib"])


def test_there_are_kinds_for_what_is_installed() -> None:
    assert [kind.name for kind in ALL] == ["empty", "science", "plots"]
    assert kinds_of([]) == (Kind("empty"),)
    (empty, science) = kinds_of(["numpy"])
    assert (empty.imports, science.imports) == ((), ("numpy",))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("print(1)", "empty"),
        ("import json, os.path", "empty"),
        ("import numpy as np", "science"),
        ("x = 1; import pandas", "science"),
        ("def f():\n    from Bio.Seq import Seq\n", "science"),
        ("import json, pandas as pd", "science"),
        ("from sklearn.svm import SVC", "science"),
        ("from matplotlib import pyplot", "plots"),
        ("import numpy\nimport seaborn", "plots"),
        ("# import numpy", "empty"),
        ("import", "empty"),
        ("import ,", "empty"),
    ],
)
def test_the_least_that_has_what_the_code_imports(code: str, kind: str) -> None:
    assert choose(code, ALL).name == kind


def test_what_is_not_installed_makes_no_difference() -> None:
    assert choose("import numpy", kinds_of([])).name == "empty"
    assert choose("import seaborn", kinds_of(["numpy"])).name == "empty"


def test_a_strange_program_is_read_all_the_same() -> None:
    code = "import " * 100_000 + "\n" + "(" * 100_000 + "\nfrom numpy import *"
    assert "numpy" in imported(code)
