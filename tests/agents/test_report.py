"""The files: the published schema, cells that run nowhere, text that is no markup."""

import csv
import io
import json
from pathlib import Path

import pytest

from app.agents.knockout.flanks import bases_around
from app.agents.knockout.markdown import text
from app.agents.knockout.report import as_json
from app.agents.knockout.schema import report_schema
from app.agents.knockout.sheets import table

PUBLISHED = Path(__file__).parents[2] / "docs" / "reference" / "crispr_knockout.report.schema.json"


def test_the_published_schema_is_that_of_the_models() -> None:
    assert PUBLISHED.read_bytes() == as_json(report_schema()), (
        "write as_json(report_schema()) to docs/reference/crispr_knockout.report.schema.json"
    )


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


@pytest.mark.parametrize(("cut", "reach"), [(0, 30), (59, 3), (60, 3), (61, 30), (100, 30), (9, 9)])
def test_bases_around_a_cut_are_read_from_the_flat_file(cut: int, reach: int) -> None:
    sequence = "".join("ACGT"[(n * n // 3) % 4] for n in range(130))
    lines = [
        f"{at + 1:>9} " + " ".join(sequence[at + n : at + n + 10].lower() for n in range(0, 60, 10))
        for at in range(0, 130, 60)
    ]
    genbank = "LOCUS x\nORIGIN\n" + "\n".join(lines) + "\n//\n"
    first = max(0, cut - reach)
    assert bases_around(genbank, cut, reach) == (sequence[first : cut + reach], cut - first)
