"""A sandbox in a pod as a `Link`: the attach stream to its runner, and its removal.

The WebSocket carries a channel number before each message: 0 in, 1 out, 2 error output, 3 the
server's own word on how it ended, 255 that a channel is closed (v5 only). With `stdinOnce` the
runner's input ends with the connection, so a host that dies takes the sandbox with it.
"""

import asyncio
import contextlib
import json

import aiohttp

from app.sandbox.executors.kubernetes.fate import check_gate, end, fate
from app.sandbox.executors.kubernetes.namespace import Namespace
from app.sandbox.executors.kubernetes.watch import Followed
from app.sandbox.links import Fate
from app.sandbox.types import IsolationError

_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
_BUFFER = 2**18
_MESSAGE = 2**15
_COMPLAINT_BYTES = 4096
_LAST_WORDS_SECONDS = 5.0


class _Valve(asyncio.ReadTransport):
    """Lets a StreamReader say when it has enough, though no transport feeds it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = asyncio.Event()
        self.is_open.set()

    def pause_reading(self) -> None:
        self.is_open.clear()

    def resume_reading(self) -> None:
        self.is_open.set()


class PodLink:
    """One Job's pod: begun when made, attached to once it is up."""

    def __init__(self, namespace: Namespace, job: str, followed: Followed) -> None:
        """Waits for the pod behind the scenes; `send` and `reader` wait with it."""
        self.reader = asyncio.StreamReader(limit=_BUFFER)
        self.job = job
        self._valve = _Valve()
        self.reader.set_transport(self._valve)
        self._namespace, self._followed = namespace, followed
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._settled = asyncio.Event()
        self._stderr = bytearray()
        self._trouble = ""
        self._ending: asyncio.Task[Fate] | None = None
        self._life = asyncio.create_task(self._live(), name=f"sandbox-{job}")

    async def send(self, data: bytes) -> None:
        """See Link.send."""
        await self._settled.wait()
        socket = self._socket
        if socket is None or socket.closed:
            check_gate(self._followed.pod)
            raise ConnectionResetError(self._trouble or "the sandbox is gone")
        for start in range(0, len(data), _MESSAGE):
            try:
                await socket.send_bytes(b"\0" + data[start : start + _MESSAGE])
            except (aiohttp.ClientError, RuntimeError) as error:
                raise ConnectionResetError(str(error)) from error

    async def kill(self) -> Fate:
        """See Link.kill."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(is_over=self._life.done()))
        return await asyncio.shield(self._ending)

    async def _live(self) -> None:
        try:
            await self._namespace.await_pod(self.job, self._followed)
            if self._followed.is_gone or end(self._followed.pod or {}) is not None:
                return
            self._socket = await self._namespace.attach(self._followed)
            self._settled.set()
            await self._pump(self._socket)
        except (OSError, IsolationError) as error:
            self._trouble = str(error)
        finally:
            self._settled.set()
            self.reader.feed_eof()

    async def _pump(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _STDOUT:
                self.reader.feed_data(data)
                await self._valve.is_open.wait()
            elif channel == _STDERR:
                self._stderr += data[: _COMPLAINT_BYTES - len(self._stderr)]
            elif channel == _STATUS:
                self._trouble = _complaint(data)
        if fault := socket.exception():
            self._trouble = self._trouble or f"the stream broke: {fault}"

    async def _end(self, *, is_over: bool) -> Fate:
        if is_over and self._socket is not None:
            # the stream's end comes before the status that says why
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await self._followed.until(_has_ended)
        self._life.cancel()
        await asyncio.wait([self._life])
        seen = self._fate(is_cut=is_over and self._socket is not None)
        closing = [self._namespace.remove(self.job, self._followed)]
        if self._socket is not None:
            closing.append(self._hang_up(self._socket))
        try:
            await asyncio.gather(*closing)
        finally:
            self._namespace.watch.forget(self.job)
        return seen

    def _fate(self, *, is_cut: bool) -> Fate:
        said = self._stderr.decode(errors="replace").strip()
        trouble = "; ".join(filter(None, (self._trouble, said)))
        return fate(self._followed.pod, trouble, is_cut=is_cut)

    async def _hang_up(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with contextlib.suppress(OSError, aiohttp.ClientError):
            await socket.close()


def _has_ended(followed: Followed) -> bool | None:
    is_over = followed.is_gone or end(followed.pod or {}) is not None
    return True if is_over else None


def _complaint(data: bytes) -> str:
    """What the Status object on the third channel complains of; `` for success."""
    try:
        status = json.loads(data)
        return "" if status.get("status") == "Success" else str(status.get("message") or "")
    except (ValueError, AttributeError):
        return data[:200].decode(errors="replace")
