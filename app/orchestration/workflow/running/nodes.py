"""The port of nodes that are more than a tool call: how the lane hands an agent its task."""

from collections.abc import Mapping
from typing import Any, Protocol

from app.orchestration.types import JobContext
from app.orchestration.workflow.steps import ReadyStep


class NodeRunner(Protocol):
    """Carries out the nodes of one kind."""

    async def run(
        self,
        ctx: JobContext,
        node: ReadyStep,
        input: Mapping[str, Any],  # noqa: A002 - the node's own word
        *,
        key: str,
    ) -> Any:
        """One try of a node: its output, as JSON.

        `node.target` is the task template, None for a free task in `node.task`. `key` is the same
        for a try that is repeated after a crash. An `AppError` is the step's failure, tried
        again by the node's `retry`; anything else fails the run, which is tried again.
        Lines that `ctx` emits get the step's path; a try may be cancelled at any point.
        """
        ...
