"""The connections to servers that developers registered: through the guarded connector only."""

import httpx2

from app.kernel.egress import GuardedTransport
from app.proxy.backends import HttpPool


class GuardedPool(HttpPool):
    """One pool for all of them; addresses are checked at every connection."""

    def __init__(self, *, allow_private: bool) -> None:
        super().__init__()
        self._allow_private = allow_private

    @property
    def transport(self) -> httpx2.AsyncHTTPTransport:
        """Made when first used."""
        if self._transport is None:
            self._transport = GuardedTransport(allow_private=self._allow_private)
        return self._transport
