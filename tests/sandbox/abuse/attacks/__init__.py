"""The attacks, by what they are after; `ROWS` is the whole list in its order."""

from tests.sandbox.abuse.attacks import files, kernel, network, resources, wire

ROWS = tuple(
    sorted(
        (*resources.ROWS, *kernel.ROWS, *files.ROWS, *network.ROWS, *wire.ROWS),
        key=lambda row: row.number,
    )
)
