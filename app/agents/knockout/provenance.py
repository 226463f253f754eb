"""What a result was made from: inputs, versions, parameters; enough to make it again."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from app.agents.knockout import donors
from app.agents.knockout.inputs import ENZYMES, GC_MAX, GC_MIN, KnockoutInput
from app.agents.knockout.isolated import script_sha256
from app.agents.knockout.ranking import MIN_CUT_DISTANCE
from app.agents.types import JSON, RunState

TOOLS = (
    "cloning.annotate_record",
    "cloning.design_oligos",
    "cloning.design_primers",
    "cloning.design_site_primers",
    "crispr.draw_map",
    "crispr.enumerate_guides",
    "crispr.find_off_targets",
    "crispr.predict_frameshift",
    "crispr.score_on_target",
    "sandbox.run_python",
    "sequence.parse_record",
    "verify.amplify",
    "verify.assemble",
    "verify.locate_guides",
    "verify.recount_off_targets",
)
_LIBRARIES = (
    "biopython",
    "langgraph",
    "lightgbm",
    "matplotlib",
    "numpy",
    "primer3-py",
    "pydna",
    "rs3",
    "sglearn",
    "uaol",
)


def provenance_of(given: KnockoutInput, state: RunState, template_version: int) -> JSON:
    """Provenance without times; the checksums are those of the files and of the sequence itself."""
    draft, record = state["draft"], state["plan"]["facts"]["record"]
    material = state["material"]
    return {
        "template": "crispr_knockout",
        "template_version": template_version,
        "parameters": parameters(given, state),
        "inputs": {
            "record_sequence_sha256": record["sequence_sha256"],
            "record_format": record["format"],
            "file_sha256": {one["name"]: one["sha256"] for one in material["searched"]},
            "vector_file_sha256": material.get("vector_sha256"),
        },
        "versions": versions(),
        "models": draft["found"]["models"],
        "tools": sorted([*TOOLS, *(donors.TOOLS if given.hdr else ())]),
        "seeds": "No step draws random numbers, so there is no seed.",
        "policy": draft["policy"],
        "attempts": state["attempt"],
        "isolated_recount_sha256": script_sha256(),
    }


def parameters(given: KnockoutInput, state: RunState) -> JSON:
    """The input with its defaults, and the constants that acted on it.

    Files are named by checksum, under `inputs`: their ids change with every upload.
    """
    return {
        **given.model_dump(mode="json", exclude={"record", "backgrounds", "vector_file"}),
        "gene": state["plan"]["facts"]["gene"],
        "enzyme": ENZYMES[given.vector],
        "gc_min": GC_MIN,
        "gc_max": GC_MAX,
        "min_cut_distance": MIN_CUT_DISTANCE,
    }


@cache
def versions() -> dict[str, str]:
    """Versions of what is installed here; the bundled tool servers run on the same installation."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
