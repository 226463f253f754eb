"""`python -m biotools.sequence`: the sequence server over stdio."""

from biotools.sequence.composition import gc_content, protein_properties
from biotools.sequence.parsing import parse_record
from biotools.sequence.reading_frames import find_orfs, translate
from biotools.serve import serve

TOOLS = (parse_record, gc_content, translate, find_orfs, protein_properties)

if __name__ == "__main__":
    serve("sequence", TOOLS, "Coordinates are 0-based, half-open, on the forward strand.")
