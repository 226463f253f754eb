"""For programs that use a UAOL server from Python. Imports nothing of the server."""

from app.sdk.websocket import WebSocketClosedError, WebSocketRefusedError, websocket_client

__all__ = ["WebSocketClosedError", "WebSocketRefusedError", "websocket_client"]
