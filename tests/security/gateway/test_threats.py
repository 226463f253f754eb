"""Every threat of the table is proven by tests that there are."""

import ast
from pathlib import Path

import pytest

from tests.security.gateway.threats import ADDRESSES, OTHERS, Threat

TESTS = Path(__file__).parents[2]
ALL = [*ADDRESSES, *OTHERS]


@pytest.mark.parametrize("threat", ALL, ids=lambda threat: threat.name)
def test_a_threat_is_proven_by_tests_that_exist(threat: Threat) -> None:
    assert threat.proofs
    for proof in threat.proofs:
        file, _, name = proof.partition("::")
        assert not name or name in _tests_of(TESTS / file), proof
        assert _tests_of(TESTS / file), proof


def test_no_threat_is_named_twice() -> None:
    assert len({threat.name for threat in ALL}) == len(ALL)


def test_every_test_of_this_folder_answers_a_threat() -> None:
    named = {proof.partition("::")[0] for threat in ALL for proof in threat.proofs}
    here = {str(path.relative_to(TESTS)) for path in Path(__file__).parent.glob("test_*.py")}
    assert here - {"security/gateway/test_threats.py"} <= named


def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    return {name for name in names if name.startswith("test_")}
