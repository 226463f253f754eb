"""`secrets.*`: what the caller's servers are sent, and no answer ever holds."""

from typing import Any

from app.kernel.principal import Scope
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload, Text
from app.surfaces.secrets import Scoped, SecretIn, SecretOut, SecretScope, SecretsOut
from app.surfaces.views import View

_KEYS = Scope.KEYS


class NamedSecret(SecretIn):
    """A secret with its name."""

    name: Text


class OneSecret(Payload):
    """A secret's name and scope."""

    name: Text
    scope: Scoped = "user"


class AllSecrets(Payload):
    """No arguments."""


class DeletedSecret(View):
    """The secret that is gone."""

    name: str
    scope: SecretScope


class SecretTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._secrets = operations.secrets

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        return [
            OwnTool("secrets.set", _SET, NamedSecret, SecretOut, _KEYS, self.set, False),
            OwnTool("secrets.list", _LIST, AllSecrets, SecretsOut, _KEYS, self.list),
            OwnTool("secrets.delete", _DELETE, OneSecret, DeletedSecret, _KEYS, self.delete, False),
        ]

    async def set(self, call: Call, given: NamedSecret) -> SecretOut:
        """Set a secret."""
        return await self._secrets.set(call.principal, given.name, given)

    async def list(self, call: Call, _given: AllSecrets) -> SecretsOut:
        """The caller's secrets."""
        return await self._secrets.list(call.principal)

    async def delete(self, call: Call, given: OneSecret) -> DeletedSecret:
        """Delete a secret."""
        await self._secrets.delete(call.principal, given.name, given.scope)
        return DeletedSecret(name=given.name, scope=given.scope)


_SET = (
    "Store a secret that calls to the named servers need, such as an API key. It is encrypted, sent"
    " to those servers' own addresses only, and never shown again. The model that calls this tool"
    " sees the value: prefer PUT /v1/secrets/{name} for secrets it should not see."
)
_LIST = "The names of the caller's secrets, where they may be sent, when they were used. No values."
_DELETE = "Delete a secret; calls that need it are refused from now on."
