"""The list of demands and the tests agree, in both directions."""

import ast
from pathlib import Path

import pytest

from tests.requirements import OPEN, PROOFS

TESTS = Path(__file__).parents[1]
PROVING = ("conformance", "e2e", "faults", "security")


def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.mark.parametrize("demand", PROOFS)
def test_a_demand_is_proven_by_tests_that_exist(demand: str) -> None:
    assert PROOFS[demand].proofs
    for proof in PROOFS[demand].proofs:
        file, _, name = proof.partition("::")
        found = _tests_of(TESTS / file)
        assert found, f"{file} holds no test"
        assert not name or name in found, f"{file} has no {name}"


def test_every_test_of_these_folders_proves_a_demand() -> None:
    named = {proof.partition("::")[0] for demand in PROOFS.values() for proof in demand.proofs}
    files = {
        str(path.relative_to(TESTS))
        for folder in PROVING
        for path in (TESTS / folder).glob("test_*.py")
    }
    assert files <= named


def test_what_is_open_is_not_claimed_to_be_proven() -> None:
    assert not OPEN.keys() & PROOFS.keys()
