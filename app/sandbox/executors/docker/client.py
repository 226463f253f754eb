"""Docker's SDK, without the socket that it leaves open where no engine answers.

Imported when an engine is first spoken to: the SDK takes a tenth of a second to load.
"""

import socket
from typing import Any

from docker import APIClient
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool

_SCHEME = "http+docker://"


class Client(APIClient):  # type: ignore[misc]
    """The API of the engine behind a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """Asks the engine for the version it speaks."""
        self._path, self._timeout_s = path, timeout_s
        super().__init__(f"unix://{path}", version="auto", timeout=timeout_s)

    def mount(self, prefix: str, adapter: Any) -> None:
        """See requests."""
        if prefix == _SCHEME:
            adapter = self._custom_adapter = _Adapter(self._path, self._timeout_s)
        super().mount(prefix, adapter)


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    def get_connection(self, url: str, proxies: Any = None) -> Any:
        with self.pools.lock:
            pool = self.pools.get(url)
            if pool is None:
                pool = self.pools[url] = _Pool(
                    url, self.socket_path, self.timeout, maxsize=self.max_pool_size
                )
            return pool


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def _new_conn(self) -> "_Connection":
        return _Connection(self.base_url, self.socket_path, self.timeout)


class _Connection(UnixHTTPConnection):  # type: ignore[misc]
    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.unix_socket)
        except OSError:
            sock.close()
            raise
        self.sock = sock
