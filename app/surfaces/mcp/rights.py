"""What those before the SDK have to know of the server: rights of tools, their list."""

from collections.abc import Callable, Sequence
from typing import Any

from mcp.server.lowlevel import Server

from app.kernel.principal import Principal, Scope
from app.surfaces.mcp.sittings import Sittings


class RightfulServer(Server[Any]):
    """The SDK's server, which can also say what scope a tool needs by its name or alias.

    None stands for no scope, and for a tool that there is not.
    """

    right_of: Callable[[str], Scope | None] | None = None
    sittings: Sittings | None = None
    """The sessions of the handshake era that this process keeps."""
    first_page: Callable[[Principal], tuple[Sequence[bytes], str | None]] | None = None
    """The first page of a caller's tools, each as JSON, and the cursor of the next."""
    farewell: Callable[[], None] | None = None
    """Ends streams that have no end, when the process is about to stop."""
