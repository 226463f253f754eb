"""What scope a tool needs, for who has to know before the call begins."""

from collections.abc import Callable
from typing import Any

from mcp.server.lowlevel import Server

from app.kernel.principal import Scope


class RightfulServer(Server[Any]):
    """The SDK's server, which can also say what scope a tool needs by its name or alias.

    None stands for no scope, and for a tool that there is not.
    """

    right_of: Callable[[str], Scope | None] | None = None
    farewell: Callable[[], None] | None = None
    """Ends streams that have no end, when the process is about to stop."""
