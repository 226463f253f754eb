"""Which registered tools are slow: worth a task rather than an open stream."""

from app.kernel.settings import Settings
from app.registry import TaskSupport, Tool, task_support


def support_of(tool: Tool) -> TaskSupport:
    """What the tool's own server says of tasks."""
    return task_support(tool.definition)


def is_slow(tool: Tool, settings: Settings) -> bool:
    """Whether its calls may become tasks.

    The server's word counts; without one, a tool is slow if its operator gives it more time than
    tools have by default.
    """
    support = support_of(tool)
    if support == "unsaid":
        return tool.timeout_s > settings.tool_timeout
    return support != "forbidden"
