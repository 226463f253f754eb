"""The engine's client leaves no socket open where the engine is away. Needs no engine."""

import gc
import socketserver
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from app.sandbox.executors.docker.engine import Engine, EngineGoneError

pytestmark = pytest.mark.anyio


class Answer(BaseHTTPRequestHandler):
    """Answers everything alike."""

    def do_GET(self) -> None:
        body = b'{"ApiVersion": "1.41", "ID": "pretended"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def pretended(path: Path) -> Iterator[None]:
    """Something that speaks as an engine does, until the end of the block."""
    with socketserver.ThreadingUnixStreamServer(str(path), Answer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


async def gone(engine: Engine) -> None:
    with pytest.raises(EngineGoneError):
        await engine.info()


async def told(engine: Engine) -> list[str]:
    """What Python says of things left open once the engine was asked in vain."""
    gc.collect()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        await gone(engine)
        gc.collect()
    return [str(one.message) for one in found if one.category is ResourceWarning]


async def test_one_that_was_never_there(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "docker.sock"))
    assert await told(engine) == []
    engine.close()


async def test_one_that_went_and_came_back(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    engine = Engine(str(path))
    with pretended(path):
        assert (await engine.info())["ID"] == "pretended"
    assert await told(engine) == []
    with pretended(path):
        assert (await engine.info())["ID"] == "pretended"
    engine.close()
