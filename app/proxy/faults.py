"""The faults of tool servers, as errors with a code and what to do next."""

from app.kernel.errors import AppError, Code


def server_down(server: str, reason: str = "is not running") -> AppError:
    """The error for a server that cannot be called."""
    return AppError(
        Code.TOOL_SERVER_DOWN,
        f"The tool server {server} {reason}.",
        hint="It is started again by itself; try again shortly. `uaol doctor` shows its state.",
        details={"server": server},
    )


def leads_back(server: str) -> AppError:
    """The error for a server that is this gateway itself, straight or by way of others."""
    return server_down(server, "has a URL that leads back to this gateway")


def protocol_error(server: str, problem: str) -> AppError:
    """The error for a server that does not speak MCP as it must."""
    return AppError(
        Code.TOOL_PROTOCOL_ERROR,
        f"The tool server {server} {problem}.",
        hint="The fault is the server's; its author can find it in the log.",
        details={"server": server},
    )


def output_too_large(server: str, limit: int) -> AppError:
    """The error for a server that sends more than `limit` bytes."""
    return AppError(
        Code.TOOL_OUTPUT_TOO_LARGE,
        f"The tool server {server} sent more than {limit} bytes.",
        hint="Ask for less, or raise UAOL_TOOL_OUTPUT_LIMIT.",
        details={"server": server, "limit": limit},
    )


def tool_timeout(tool: str, seconds: float) -> AppError:
    """The error for a tool that took too long."""
    return AppError(
        Code.TOOL_TIMEOUT,
        f"The tool {tool} did not answer within {seconds:g} s.",
        hint="Give it less to do, or raise the server's 'timeout' in mcp_config.yaml.",
        details={"tool": tool, "timeout_s": seconds},
    )
