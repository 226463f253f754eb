"""Vault's transit engine as it speaks over HTTP, with a key of its own and faults on demand.

https://developer.hashicorp.com/vault/api-docs/secret/transit
"""

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.test-token-of-the-platform"


class RefusedError(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        self.status, self.errors = status, errors


class Transit:
    """One key of type aes256-gcm96 with its versions."""

    def __init__(self, name: str = "uaol") -> None:
        self.name = name
        self.versions = [secrets.token_bytes(32)]
        self.fault: str | None = None
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        match method, path:
            case "GET", p if p == f"/v1/transit/keys/{self.name}":
                keys = {str(n + 1): 1767225600 for n in range(len(self.versions))}
                latest = len(self.versions)
                return {"type": "aes256-gcm96", "latest_version": latest, "keys": keys}
            case "POST" | "PUT", p if p == f"/v1/transit/keys/{self.name}/rotate":
                self.versions.append(secrets.token_bytes(32))
                return {}
            case "POST" | "PUT", p if p == f"/v1/transit/encrypt/{self.name}":
                return self._encrypt(body)
            case "POST" | "PUT", p if p == f"/v1/transit/decrypt/{self.name}":
                return self._decrypt(body)
        raise RefusedError(404, "no handler for route")

    def _encrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        plain, bound = (base64.b64decode(body[key]) for key in ("plaintext", "associated_data"))
        nonce = secrets.token_bytes(12)
        sealed = nonce + AESGCM(self.versions[-1]).encrypt(nonce, plain, bound)
        version = len(self.versions)
        coded = base64.b64encode(sealed).decode()
        return {"ciphertext": f"vault:v{version}:{coded}", "key_version": version}

    def _decrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            _, version, coded = body["ciphertext"].split(":")
            sealed = base64.b64decode(coded, validate=True)
            key = self.versions[int(version[1:]) - 1]
            bound = base64.b64decode(body["associated_data"])
            plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], bound)
        except (ValueError, IndexError, InvalidTag) as error:
            raise RefusedError(400, "cipher: message authentication failed") from error
        return {"plaintext": base64.b64encode(plain).decode()}


FAULTS = {
    "sealed": (503, b'{"errors":["Vault is sealed"]}'),
    "denied": (403, b'{"errors":["permission denied"]}'),
    "broken": (500, b'{"errors":["internal error"]}'),
    "html": (200, b"<html>a proxy's own page</html>"),
    "empty": (200, b"{}"),
    "list": (200, b"[]"),
    "no data": (200, b'{"data":null}'),
    "wrong type": (200, b'{"data":{"ciphertext":1,"plaintext":[],"latest_version":"x"}}'),
    "not base64": (200, b'{"data":{"ciphertext":"x","plaintext":"%%%","latest_version":1}}'),
    "redirect": (307, b""),
}


class Handler(BaseHTTPRequestHandler):
    """One request; the server it belongs to has the engine."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        self._answer(json.loads(raw or b"{}"))

    def do_PUT(self) -> None:
        self.do_POST()

    def _answer(self, body: dict[str, Any]) -> None:
        assert isinstance(self.server, Server)
        transit = self.server.transit
        if transit.fault == "reset":
            self.close_connection = True
            self.connection.close()
            return
        if transit.fault is not None:
            self._send(*FAULTS[transit.fault])
            return
        try:
            if self.headers.get("x-vault-token") != TOKEN:
                raise RefusedError(403, "permission denied")
            data = transit.answer(self.command, self.path, body)
        except RefusedError as error:
            self._send(error.status, json.dumps({"errors": error.errors}).encode())
            return
        told = {"request_id": "1", "lease_id": "", "renewable": False, "data": data}
        self._send(200, json.dumps(told).encode())

    def _send(self, status: int, raw: bytes) -> None:
        self.send_response(status)
        if status == 307:
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return None


class Server(ThreadingHTTPServer):
    """Gives its handlers the engine."""

    def __init__(self, transit: Transit) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.transit = transit


@contextmanager
def serving(transit: Transit) -> Iterator[Transit]:
    """Serve it on the loopback while the block runs."""
    server = Server(transit)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    transit.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield transit
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
