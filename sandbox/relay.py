"""The sandbox's only way out, seen from inside: a loopback port whose bytes go to a Unix socket.

Programs want a proxy at an address; the proxy is a socket in a folder, since the sandbox has no
network. This pumps bytes and decides nothing: every rule is kept by the proxy at the other end.
One process without threads, which would count against the task's limit; standard library only,
and of that the parts that load at once. The runner forks it before user code starts.
"""

# socket, contextlib and typing would load slower than all of this
# ruff: noqa: SIM105
from __future__ import annotations

import _socket
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

HOST = "127.0.0.1"
CHUNK = 1 << 16
PAIRS = 200
SHUT = b"HTTP/1.1 502 The way out is shut\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Side:
    """One socket of a pair: what waits to be written to it, and whether more can be read."""

    def __init__(self, sock: _socket.socket, *, is_client: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.is_client = is_client
        self.waiting = b""
        self.is_read = True
        self.is_written = True
        self.other = self

    def mask(self) -> int:
        """The events to wait for; one side is read only while the other has nothing waiting."""
        wanted = select.POLLOUT if self.waiting else 0
        if self.is_read and not self.other.waiting:
            wanted |= select.POLLIN
        return wanted

    def receive(self) -> None:
        """Read once; the end of one side ends the writing to the other."""
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.other.give(data)
        else:
            self.is_read = False
            self.other.finish()

    def give(self, data: bytes) -> None:
        """Write what fits and keep the rest."""
        self.waiting = b""
        if self.is_written:
            try:
                self.waiting = data[self.sock.send(data) :]
            except BlockingIOError:
                self.waiting = data
            except OSError:
                self.lose()
            self.finish()

    def lose(self) -> None:
        """Note that nothing can be written any more.

        Without its client a pair is over. What a proxy no longer takes is thrown away, so that a
        client may send to its end and then read why it was refused.
        """
        self.is_written = False
        if self.is_client:
            self.is_read = self.other.is_read = False
            self.other.waiting = b""

    def finish(self) -> None:
        """Pass the end on, once nothing waits and the other side has ended."""
        if self.is_written and not self.waiting and not self.other.is_read:
            self.is_written = False
            try:
                self.sock.shutdown(_socket.SHUT_WR)
            except OSError:
                pass

    def is_over(self) -> bool:
        """Whether neither side will bring anything more."""
        return not (self.is_read or self.other.is_read or self.waiting or self.other.waiting)


class Relay:
    """All pairs and the listener behind one `poll`."""

    def __init__(self, listener: _socket.socket, path: str) -> None:
        self.listener, self.path = listener, path
        self.sides: dict[int, Side] = {}
        self.poller = select.poll()
        self.poller.register(listener.fileno(), select.POLLIN)

    def run(self) -> NoReturn:
        """Serve for ever; the sandbox's end is ours."""
        while True:
            for fd, events in self.poller.poll():
                if fd == self.listener.fileno():
                    self.accept()
                elif fd in self.sides:
                    self.move(self.sides[fd], events)

    def accept(self) -> None:
        """Take one client and connect it; with many pairs, the next waits for one to end."""
        try:
            # what `socket.accept` calls
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        except OSError:
            return
        client = Side(_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd), is_client=True)
        proxy = Side(dial(self.path), is_client=False)
        client.other, proxy.other = proxy, client
        for side in (client, proxy):
            self.sides[side.fd] = side
            self.wait(side)
        if len(self.sides) >= 2 * PAIRS:
            self.poller.unregister(self.listener.fileno())

    def move(self, side: Side, events: int) -> None:
        """Do what the events allow, then wait for what is next."""
        if side.waiting and events & ~select.POLLIN:
            side.give(side.waiting)  # an error or hang-up is told by the write
        if side.mask() & select.POLLIN and events & ~select.POLLOUT:
            side.receive()
        if side.is_over():
            self.drop(side)
        else:
            self.wait(side)
            self.wait(side.other)

    def wait(self, side: Side) -> None:
        """Register the side for its events; one without any would report its hang-up for ever."""
        mask = side.mask()
        if mask:
            self.poller.register(side.fd, mask)
            return
        self.ignore(side)

    def ignore(self, side: Side) -> None:
        """Ask for no event of it."""
        try:
            self.poller.unregister(side.fd)
        except KeyError:
            pass

    def drop(self, side: Side) -> None:
        """Close both and forget them."""
        for each in (side, side.other):
            self.ignore(each)
            del self.sides[each.fd]
            each.sock.close()
            each.other = each
        self.poller.register(self.listener.fileno(), select.POLLIN)


def dial(path: str) -> _socket.socket:
    """A connection to the proxy, or to an answer that says there is none.

    It may wait for the proxy to accept, and with it all pairs: they are the same proxy's.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        far.send(SHUT)
        far.close()
        return near
    return sock


def listen(port: int) -> _socket.socket:
    """The listening socket; raises OSError where the port is taken or loopback is down."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(PAIRS)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def serve(socket_path: str, port: int) -> NoReturn:
    """Listen on the port and pump for ever."""
    Relay(listen(port), socket_path).run()


def start(socket_path: str, port: int) -> int:
    """Listen, then serve in a forked process that holds nothing else; its process id.

    The port takes connections when this returns. Raises OSError as `listen` does.
    """
    listener = listen(port)
    child = os.fork()
    if child:
        listener.close()
        return child
    try:
        Relay(alone(listener), socket_path).run()
    finally:
        os._exit(1)


def alone(listener: _socket.socket) -> _socket.socket:
    """The listener as descriptor 3; every other descriptor is let go."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.dup2(os.dup(listener.detach()), 3)
    os.closerange(4, 1 << 16)
    return _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, 3)
