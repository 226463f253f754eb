"""Every published example is checked and run; each has at least one script here."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from app.agents.templates import Templates
from app.orchestration.workflow import Plan, WaitingStep, check, check_answer, check_input, read
from biotools.cloning.__main__ import TOOLS as CLONING
from biotools.crispr.__main__ import TOOLS as CRISPR
from biotools.sequence.__main__ import TOOLS as SEQUENCE
from tests.orchestration.workflow.executor import done, failed, run

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "examples" / "workflows"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.json"))
TOOLS = {
    f"{server}.{function.__name__}": function
    for server, functions in {"sequence": SEQUENCE, "crispr": CRISPR, "cloning": CLONING}.items()
    for function in functions
}
FILE = "018f2f6e-0000-7000-8000-000000000001"


@dataclass
class Script:
    example: str
    input: Any
    answers: Mapping[str, Any]
    output: Any
    skipped: Sequence[str] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


_PROPERTIES = {"length": 3, "isoelectric_point": 5.57}
_FOUND = {"id": "U01317", "length": 2000, "genes": ["HBB", "HBD"]}


def _guides(gene: str, *spacers: str) -> dict[str, Any]:
    return {"gene": gene, "guides": [{"spacer": spacer} for spacer in spacers]}


SCRIPTS = [
    Script("single_tool", None, {"call": {"gc": 0.75}}, {"gc": 0.75}),
    Script(
        "chain",
        {"sequence": "ATGGCCAAATAA"},
        {"translate": {"protein": "MAK"}, "properties": _PROPERTIES},
        {"protein": "MAK", "isoelectric_point": 5.57, "summary": "3 residues, pI 5.57"},
        arguments={
            "translate": {"sequence": "ATGGCCAAATAA", "table": 1, "to_stop": True},
            "properties": {"sequence": "MAK"},
        },
    ),
    Script(
        "diamond",
        {"file": FILE, "gene": "HBB"},
        {
            "record": _FOUND,
            "guides": _guides("HBB", "AA", "CC"),
            "sites": {"non_cutters": ["BbsI"]},
            "density": {"stdout": "1.0\n"},
        },
        {"record": "U01317", "said": "1.0\n"},
    ),
    Script(
        "map_genes",
        {"file": FILE, "genes": ["HBB", "nix", "HBD"]},
        {
            "guides[0]": _guides("HBB", "AACC"),
            "guides[1]": failed("gene_not_found", "No nix."),
            "guides[2]": _guides("HBD", "GGTT"),
        },
        {
            "best": [{"gene": "HBB", "guide": "AACC"}, {"gene": "HBD", "guide": "GGTT"}],
            "failed": ["No nix."],
        },
        arguments={"guides[2]": {"file": FILE, "gene": "HBD"}},
    ),
    Script("map_genes", {"file": FILE, "genes": []}, {}, {"best": [], "failed": []}),
    Script(
        "branch",
        {"sequence": "ACGT"},
        {"count": {"length": 4, "gc": 0.9}, "short": "why", "report": {"stdout": "['short']"}},
        {"way": ["short"], "orfs": "Skipped", "said": "['short']"},
        skipped=["orfs", "proteins"],
    ),
    Script(
        "branch",
        {"sequence": "G" * 40},
        {
            "count": {"length": 40, "gc": 1.0},
            "orfs": {"orfs": []},
            "proteins": {"protein": "GG"},
            "report": {"stdout": "both"},
        },
        {"way": ["orfs", "proteins"], "orfs": "Success", "said": "both"},
        skipped=["short"],
    ),
    Script(
        "approval",
        {"record": FILE, "gene": "HBB"},
        {
            "design": {"chosen": [{"spacer": "ACGT"}]},
            "approve": {"order": True, "note": "go"},
            "oligos": {"oligos": ["caccgACGT"]},
        },
        {"ordered": True, "oligos": ["caccgACGT"], "note": "go"},
        arguments={"oligos": {"spacers": ["ACGT"], "vector": "pX330"}},
    ),
    Script(
        "approval",
        {"record": FILE, "gene": "HBB"},
        {"design": {"chosen": []}, "approve": failed("job_cancelled", "Nobody answered.")},
        {"ordered": False, "oligos": None, "note": "Nobody answered."},
        skipped=["oligos"],
    ),
    Script(
        "nested_map",
        {"records": [{"file": "f1"}, {"file": "f2", "genes": ["HBG1"]}]},
        {
            "records[0].parsed": _FOUND,
            "records[1].parsed": {"id": "X2"},
            "records[0].genes[0]": _guides("HBB", "A"),
            "records[0].genes[1]": _guides("HBD"),
            "records[1].genes[0]": _guides("HBG1", "A", "C"),
        },
        [
            {"record": "U01317", "place": 0, "guides": [1, 0]},
            {"record": "X2", "place": 1, "guides": [2]},
        ],
        arguments={"records[1].genes[0]": {"file": "f2", "gene": "HBG1"}},
    ),
    Script(
        "waiting",
        {"start": "2030-01-31T08:00:00+01:00", "file": FILE},
        {
            "night": None,
            "first": failed(),
            "pause": None,
            "second": {"id": "U01317"},
            "report": {"text": "fine"},
        },
        {"text": "fine"},
    ),
    Script(
        "waiting",
        {"start": "2030-01-31T08:00:00Z", "file": FILE},
        {"night": None, "first": {"id": "U01317"}, "report": {"text": "fine"}},
        {"text": "fine"},
        skipped=["pause", "second"],
    ),
]


def _plan(example: str) -> Plan:
    raw = read((FOLDER / f"{example}.json").read_bytes())
    return check(raw, tool=TOOLS.__getitem__, template=Templates().get)


def test_there_are_examples_of_every_kind_of_node() -> None:
    kinds = {node.kind for example in EXAMPLES for node in _plan(example).walk()}
    assert kinds == {"tool", "agent", "sandbox", "map", "branch", "wait"}
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_fits_the_published_schema_and_is_run(example: str) -> None:
    schema = json.loads((FOLDER.parents[1] / "reference/workflow.schema.json").read_bytes())
    meta.validate(schema)
    raw = json.loads((FOLDER / f"{example}.json").read_bytes())
    assert list(Draft202012Validator(schema).iter_errors(raw)) == []
    assert example in {script.example for script in SCRIPTS}, "write a script of it"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.example)
def test_a_script_of_an_example(script: Script) -> None:
    plan = _plan(script.example)
    check_input(plan, script.input)
    done_run = run(plan, script.input, script.answers)
    assert done_run.end.error is None
    assert done_run.end.output == script.output
    assert sorted(done_run.paths) == sorted(script.answers)
    assert sorted(done_run.skipped) == sorted(script.skipped)
    for path, arguments in script.arguments.items():
        assert done_run.step(path).arguments == arguments


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.example)
def test_a_tool_of_an_example_has_these_arguments(script: Script) -> None:
    for step in run(_plan(script.example), script.input, script.answers).given:
        if not isinstance(step, WaitingStep) and step.kind == "tool":
            known = inspect.signature(TOOLS[step.target or ""]).parameters
            assert step.arguments.keys() <= known.keys()


def test_the_approval_asks_with_its_form() -> None:
    script = next(script for script in SCRIPTS if script.example == "approval")
    asked = run(_plan("approval"), script.input, script.answers).step("approve")
    assert asked.title == "Order the oligos for HBB?"
    assert asked.timeout_s == 604_800
    check_answer(asked.form, {"order": True, "vector": "pX330"})


def test_literal_braces_and_moments_come_through() -> None:
    script = next(script for script in SCRIPTS if script.example == "waiting")
    done_run = run(_plan("waiting"), script.input, script.answers)
    assert "A text like ${{ this }} is no expression." in done_run.step("report").arguments["code"]
    assert done_run.step("night").until.isoformat() == "2030-01-31T07:00:00+00:00"
    assert done_run.step("pause").seconds == 60
    assert done("x").as_dict() == {"status": "Success", "output": "x", "error": None}
