"""`python -m biotools.crispr`: the crispr server over stdio."""

from biotools.crispr.donors import hdr_template
from biotools.crispr.drawing import draw_map
from biotools.crispr.enumeration import enumerate_guides
from biotools.crispr.frameshift import predict_frameshift
from biotools.crispr.off_targets import find_off_targets
from biotools.crispr.on_target import score_on_target
from biotools.serve import serve

TOOLS = (
    enumerate_guides,
    score_on_target,
    find_off_targets,
    draw_map,
    predict_frameshift,
    hdr_template,
)

if __name__ == "__main__":
    serve("crispr", TOOLS, "SpCas9 guides. Coordinates are 0-based, half-open, forward strand.")
