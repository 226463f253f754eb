"""A process of its own that asks for a layer: `builder.py folder wheelhouse requirement [hang]`.

It prints the layer's id and how many wheels it unpacked; with `hang` it stops at the first one,
after a word on standard output.
"""

import asyncio
import sys
from pathlib import Path

from app.sandbox import TaskResult, TaskSpec
from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.layers import LayerLimits, Layers, Sources


async def main(folder: str, wheelhouse: str, requirement: str, *how: str) -> None:
    executor = PooledExecutor(bubblewrap_backends()[0])
    unpacked = 0

    async def run(spec: TaskSpec) -> TaskResult:
        nonlocal unpacked
        if spec.input_files:
            unpacked += 1
            if how:
                sys.stdout.write("unpacking\n")
                sys.stdout.flush()
                await asyncio.Event().wait()
        return await executor.run(spec)

    layers = Layers(Path(folder), Sources(Path(wheelhouse)), LayerLimits(patience_s=100))
    layers.build_with(run)
    prepared = await layers.room_for([requirement], await executor.capabilities())
    sys.stdout.write(f"{prepared.id} {unpacked}\n")
    await executor.close()


asyncio.run(main(*sys.argv[1:]))
