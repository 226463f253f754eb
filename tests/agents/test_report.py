"""The files: the published schema, cells that run nowhere, text that is no markup."""

import csv
import io
import json
from pathlib import Path

import pytest

from app.agents.knockout.markdown import text
from app.agents.knockout.report import as_json
from app.agents.knockout.schema import report_schema
from app.agents.knockout.sheets import table

PUBLISHED = Path(__file__).parents[2] / "docs" / "reference" / "crispr_knockout.report.schema.json"


def test_the_published_schema_is_that_of_the_models() -> None:
    assert PUBLISHED.read_bytes() == as_json(report_schema()), "run `make docs`"


def test_the_schema_says_how_positions_count() -> None:
    assert "0-based half-open" in json.loads(PUBLISHED.read_text())["description"]


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\n=1"])
def test_a_formula_in_a_cell_becomes_text(evil: str) -> None:
    [_, row] = csv.reader(io.StringIO(table(["contig"], [[evil]]).decode()))
    assert row == ["'" + evil]


def test_figures_and_plain_text_stay_as_they_are() -> None:
    rows = [["chr1", -0.5, None, 3]]
    assert table(["a", "b", "c", "d"], rows) == b"a,b,c,d\nchr1,-0.5,,3\n"


def test_text_from_a_file_is_no_markup() -> None:
    assert text("a|b\n# <img> [x](y) `c`") == "a\\|b \\# \\<img\\> \\[x\\](y) \\`c\\`"
