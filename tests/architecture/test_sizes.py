"""Files and functions stay small enough to be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("app", "biotools", "sandbox", "bench")
PRODUCT_FILE, TEST_FILE, FUNCTION = 400, 600, 50


def _sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _too_long(paths: list[Path], limit: int) -> dict[str, int]:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return {str(path.relative_to(ROOT)): size for path, size in lines.items() if size > limit}


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield where, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("folder", PRODUCT)
def test_there_is_something_to_measure(folder: str) -> None:
    assert _sources(folder)


def test_no_product_file_is_too_long() -> None:
    assert _too_long(_sources(*PRODUCT), PRODUCT_FILE) == {}


def test_no_test_file_is_too_long() -> None:
    assert _too_long(_sources("tests"), TEST_FILE) == {}


def test_no_product_function_is_too_long() -> None:
    sizes = dict(each for path in _sources(*PRODUCT) for each in _functions(path))
    assert {name: size for name, size in sizes.items() if size > FUNCTION} == {}
