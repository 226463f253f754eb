"""Follows a server's announcements that its tools have changed (MCP 2026-07-28, listen)."""

import logging

import anyio
from mcp import Client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError

from app.proxy.backends.base import Link

_PAUSE_S = 5.0
_log = logging.getLogger(__name__)


async def follow_changes(client: Client, link: Link) -> None:
    """Mark the link stale at every announcement, until it ends.

    Servers of older protocol versions announce unasked, by notification; those that announce
    nothing are read again at their next start.
    """
    tools = client.server_capabilities.tools
    if tools is None or not tools.list_changed:
        return
    while not link.ended.is_set():
        try:
            async with client.listen(tools_list_changed=True) as events:
                # What was announced before is not sent again.
                link.mark_stale()
                async for _ in events:
                    link.mark_stale()
        except (ListenNotSupportedError, MCPError) as error:
            _log.info("%s announces no changes: %s", link.server, error)
            return
        except (SubscriptionLost, TimeoutError) as error:
            _log.info("%s: its announcements ended: %s", link.server, error)
        with anyio.move_on_after(_PAUSE_S):
            await link.ended.wait()
