"""How large a workflow may be. Sizes are bytes, times are seconds."""

DEFINITION_BYTES = 2**20
NODES = 500
"""Nodes of a definition, those of sub-definitions included."""
DEPTH = 3
"""Maps around a node."""
STEPS = 10_000
"""Steps of one run at most: nodes other than maps, times `max_items` of the maps around them."""
MAP_ITEMS = 1000
JSON_DEPTH = 100
EXPRESSION_CHARS = 4096
EXPRESSION_DEPTH = 64
EXPRESSION_WORK = 1_000_000
"""Visits and values one step's expressions may take, 16 characters of text counting as one."""
LONGEST_WAIT_S = 366 * 86_400
KEY_CHARS = 200
MISTAKES_SHOWN = 100
