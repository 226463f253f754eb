"""The bundled tools called in this process, through the very schemas their servers publish."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from app.kernel.errors import app_error
from biotools.cloning import annotate_record, design_oligos, design_primers, design_site_primers
from biotools.crispr.donors import hdr_template
from biotools.crispr.drawing import draw_map
from biotools.crispr.enumeration import enumerate_guides
from biotools.crispr.frameshift import predict_frameshift
from biotools.crispr.off_targets import find_off_targets
from biotools.crispr.on_target import score_on_target
from biotools.sequence.parsing import parse_record
from biotools.serve import ToolEntry
from biotools.verify import amplify, assemble, check_donors, locate_guides, recount_off_targets
from tests.agents.contexts import JSON, Files, Tool

FUNCTIONS: Mapping[str, Any] = {
    "cloning.annotate_record": annotate_record,
    "cloning.design_oligos": design_oligos,
    "cloning.design_primers": design_primers,
    "cloning.design_site_primers": design_site_primers,
    "crispr.draw_map": draw_map,
    "crispr.enumerate_guides": enumerate_guides,
    "crispr.find_off_targets": find_off_targets,
    "crispr.hdr_template": hdr_template,
    "crispr.predict_frameshift": predict_frameshift,
    "crispr.score_on_target": score_on_target,
    "sequence.parse_record": parse_record,
    "verify.amplify": amplify,
    "verify.assemble": assemble,
    "verify.check_donors": check_donors,
    "verify.locate_guides": locate_guides,
    "verify.recount_off_targets": recount_off_targets,
}


_ANSWERS: dict[tuple[str, str], tuple[bool, str]] = {}


def _answer(entry: ToolEntry, arguments: str) -> tuple[bool, JSON]:
    """The tool's answer; the same question is computed once per test process."""
    key = entry.name, arguments
    if key not in _ANSWERS:
        result = entry.run(json.loads(arguments))
        _ANSWERS[key] = bool(result.is_error), json.dumps(result.structured_content or {})
    is_error, answer = _ANSWERS[key]
    return is_error, json.loads(answer)


def real_tools(files: Files) -> dict[str, Tool]:
    """Every tool of the knockout; file ids become paths, tool errors become `AppError`s."""

    def adapt(entry: ToolEntry) -> Tool:
        def call(arguments: JSON) -> JSON:
            is_error, answer = _answer(entry, json.dumps(files.resolve(arguments)))
            if is_error:
                raise app_error(answer["code"], answer["message"], answer["hint"])
            return answer

        return call

    tools = {name: adapt(ToolEntry(function)) for name, function in FUNCTIONS.items()}
    return tools | {"sandbox.run_python": lambda arguments: run_alone(files, arguments)}


def run_alone(files: Files, arguments: JSON) -> JSON:
    """Runs the script in an interpreter of its own, without any wall: the script is ours."""
    code = arguments["code"]
    for given in arguments["input_files"]:
        code = code.replace(f"/task/input/{given['name']}", str(files.paths[given["file_id"]]))
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status = "ok" if done.returncode == 0 else "error"
    return {"status": status, "stdout": done.stdout, "stderr": done.stderr, "executor": "test"}
