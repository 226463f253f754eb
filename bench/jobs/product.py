"""The product's own command, with the bench's tool in it: `python -m bench.jobs.product F N serve`.

Nothing else differs from `uaol serve` and `uaol worker`: the product has no tool that does nothing,
and its workers tell the bench what they end (folder F, slot N).
"""

import sys
from pathlib import Path
from typing import Any

from app import cli
from app.proxy import ToolProxy
from app.wiring import building
from bench.jobs.watching import watch
from bench.platform import PRICE, tool


class _Proxy(ToolProxy):
    def __init__(self, **given: Any) -> None:
        mine = tool(price_micro=PRICE.amount_micro)
        super().__init__(**given | {"builtins": [*given["builtins"], mine]})


def main() -> None:
    """Run the command named by the rest of the arguments."""
    folder, slot, *command = sys.argv[1:]
    watch(Path(folder), int(slot))
    vars(building)["ToolProxy"] = _Proxy
    sys.argv = ["uaol", *command]
    cli.run()


if __name__ == "__main__":
    main()
