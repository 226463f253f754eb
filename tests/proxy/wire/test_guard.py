"""Nothing of a stranger's choice reaches an address that is not the public internet's."""

import socket
from collections.abc import Sequence

import pytest

from app.kernel.errors import AppError, Code
from app.proxy.wire import HttpWire, Target, UnreachableError
from app.proxy.wire.guard import ClosedTargetError, check_port, public_socket
from app.proxy.wire.pool import address_of
from tests.proxy.wire.played import modern, playing, result

pytestmark = pytest.mark.anyio

HOSTILE = [
    "https://127.0.0.1/",
    "https://localhost/",
    "https://[::1]/",
    "https://0.0.0.0/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://[::ffff:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://224.0.0.1/",
]


async def call(wire: HttpWire, url: str) -> None:
    target = Target("far", url)
    await wire.call(target, "tools/call", b"{}", name=None, headers={}, timeout_s=20.0, owner=None)


@pytest.mark.parametrize("url", HOSTILE)
async def test_hostile_addresses_are_refused(wire: HttpWire, url: str) -> None:
    with pytest.raises(AppError) as caught:
        await call(wire, url)
    assert caught.value.code is Code.TOOL_SERVER_DOWN
    assert "not public" in caught.value.message or "not a URL" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://user:pass@example.com/",
        "https://example.com/#part",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "https://" + "a" * 3000,
    ],
)
def test_urls_of_another_kind_are_refused(url: str) -> None:
    with pytest.raises(AppError, match="has a URL that") as caught:
        address_of(Target("far", url))
    assert caught.value.code is Code.TOOL_SERVER_DOWN


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "::1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%lo", "224.0.0.1"],
)
def test_the_socket_itself_judges_its_address(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(ClosedTargetError):
        public_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)))


@pytest.mark.parametrize(
    ("port", "is_open"), [(443, True), (8443, True), (22, False), (6379, False)]
)
def test_ports_of_other_services_are_closed(port: int, *, is_open: bool) -> None:
    if is_open:
        check_port(port)
    else:
        with pytest.raises(ClosedTargetError):
            check_port(port)


async def test_a_name_in_other_letters_is_no_other_name() -> None:
    """Secrets are bound to the one, and must not go to `fass.example`, which is somebody else's."""
    asked: list[str] = []

    async def look_up(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        raise OSError("no such name")

    wire = HttpWire(look_up)
    with pytest.raises(UnreachableError):
        await call(wire, "https://fa\u00df.example/mcp")
    assert asked == ["xn--fa-hia.example"]
    await wire.close()


async def test_a_name_that_is_bound_to_loopback_later_reaches_nothing() -> None:
    """DNS rebinding: what was public when it was registered is not when it is called."""
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    assert await rebinding("evil.example", 443) == ["93.184.216.34"]
    wire = HttpWire(rebinding)
    async with playing(modern(result({}))) as server:
        with pytest.raises(UnreachableError, match="not public"):
            await call(wire, f"https://evil.example:{server.port}/mcp")
        assert (asked, server.connections) == (["evil.example", "evil.example"], 0)
    await wire.close()
