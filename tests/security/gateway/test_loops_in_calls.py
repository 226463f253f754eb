"""A server whose address came to lead here after its approval: calls end at the first round."""

import pytest

from app.kernel.errors import AppError, Code
from app.proxy.wire import HttpWire, Target
from tests.security.gateway.conftest import free
from tests.surfaces.fastpath.conftest import Far

pytestmark = pytest.mark.anyio


async def test_a_call_that_comes_back_is_refused(far: Far) -> None:
    """A valid key helps nobody; neither does the door of one server, nor another transport."""
    wire, key = HttpWire(), dict(far.world.alice.headers)
    for path, transport in (("mcp", "streamable-http"), ("mcp/servers/far", "streamable-http"),
                            ("sse", "sse")):  # fmt: skip
        for name in ("127.0.0.1", "localhost"):
            url = f"{far.url}/{path}".replace("127.0.0.1", name)
            target = Target("loop", url, transport=transport, allow_private=True)  # type: ignore[arg-type]
            with pytest.raises(AppError) as caught:
                await wire.call(
                    target,
                    "tools/call",
                    b'{"name":"far.echo","arguments":{"text":"hi"}}',
                    name="far.echo",
                    headers=key,
                    timeout_s=20.0,
                    owner=None,
                )
            assert caught.value.code is Code.TOOL_SERVER_DOWN
            assert "leads back" in caught.value.message, caught.value.message
    await wire.close()
    await free(far)
