"""The one module that knows LangGraph: five nodes, each of which says who comes next.

No checkpointer: the rows of `agent_runs` are the checkpoint (see the decision record 0002), and a
resumed run enters at the role that the merged state asks for.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command
from langsmith import tracing_context

from app.agents.routing import merge, next_role
from app.agents.types import ROLES, Role, RunState

Step = Callable[[Role, RunState], Awaitable[RunState]]


@dataclass(frozen=True, slots=True)
class _Drive:
    step: Step


def _goto(state: RunState) -> str:
    return next_role(state) or END


def _node(role: Role) -> Callable[..., Awaitable[Command[Any]]]:
    async def node(state: RunState, runtime: Runtime[_Drive]) -> Command[Any]:
        update = await runtime.context.step(role, state)
        return Command(update=update, goto=_goto(merge(state, update)))

    return node


class RoleGraph:
    """planner -> retriever -> coder <-> evaluator -> reporter, compiled once per process."""

    def __init__(self) -> None:
        graph = StateGraph(RunState, context_schema=_Drive)
        for role in ROLES:
            graph.add_node(role, _node(role), destinations=(*ROLES, END))
        graph.add_conditional_edges(START, _goto, [*ROLES, END])
        self._compiled = graph.compile(name="task")

    async def run(self, state: RunState, step: Step) -> RunState:
        """Walk from wherever `state` stands to the end; `step` does a role's work."""
        # A tracing variable in the user's environment must not send their data away.
        with tracing_context(enabled=False):
            final: Any = await self._compiled.ainvoke(state, context=_Drive(step))
        return final  # type: ignore[no-any-return]
