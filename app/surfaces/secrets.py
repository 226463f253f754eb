"""What owners do with secrets, written once for every door. No answer ever holds a value."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.proxy import RemoteServer, origin_of
from app.surfaces.context import Access
from app.surfaces.payloads import Payload, Text
from app.surfaces.safe import Safe
from app.surfaces.services import Services
from app.surfaces.views import View
from app.vault import SecretInfo, SecretRef, check_name, check_value

SecretScope = Literal["user", "project", "developer"]
Scoped = Annotated[
    SecretScope,
    Field(
        description="Whose calls it serves: yours, those of your key's project, or everybody's to"
        " servers that you develop."
    ),
]
Value = Annotated[
    Text,
    Field(description="Printable ASCII, 6 to 8,192 characters. It is never shown again."),
]
ServerSlug = Annotated[Text, StringConstraints(min_length=1, max_length=100)]


class SecretChange(Payload):
    """A new value for a secret that is there."""

    value: Value
    scope: Scoped = "user"


class SecretIn(SecretChange):
    """A secret, and the servers that may be sent it."""

    servers: Annotated[
        list[ServerSlug],
        Field(
            min_length=1,
            max_length=20,
            description="Slugs of servers. It is sent to their addresses of now and to no other.",
        ),
    ]


class SecretOut(View):
    """A secret without its value."""

    name: str
    scope: SecretScope
    project_id: UUID | None
    origins: list[str] = Field(description="The addresses it may be sent to.")
    version: int = Field(description="Grows by one with each new value.")
    created_at: datetime
    changed_at: datetime
    used_at: datetime | None = Field(description="Exact to the hour.")

    @classmethod
    def of(cls, info: SecretInfo) -> Self:
        """The view of a secret."""
        return cls.model_validate(info)


class SecretsOut(View):
    """All secrets of a user, by scope and name."""

    secrets: list[SecretOut]


class Secrets:
    """Secrets of the principal; those of others do not exist."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def _safe(self, principal: Principal) -> Safe:
        principal.require(Scope.KEYS)
        return safe_of(self._services)

    async def set(self, principal: Principal, name: str, given: SecretIn) -> SecretOut:
        """Set a secret: a new one, or a new value and new servers for one that is there."""
        safe = self._safe(principal)
        ref, value = _ref(principal, name, given.scope), check_value(given.value)
        found = (self._upstream(safe, principal, given.scope, slug) for slug in given.servers)
        origins = tuple(sorted({origin_of(upstream.url) for upstream in found}))
        return SecretOut.of(await safe.keeper.set(principal, ref, value, origins))

    async def rotate(self, principal: Principal, name: str, given: SecretChange) -> SecretOut:
        """Give a secret a new value; its servers stay."""
        safe = self._safe(principal)
        ref, value = _ref(principal, name, given.scope), check_value(given.value)
        return SecretOut.of(await safe.keeper.set(principal, ref, value, must_exist=True))

    async def list(self, principal: Principal) -> SecretsOut:
        """The principal's secrets, without values."""
        vault = self._safe(principal).vault
        async with self._access.read(principal) as uow:
            found = await vault.list(uow, principal.owner)
        return SecretsOut(secrets=[SecretOut.of(info) for info in found])

    async def delete(self, principal: Principal, name: str, scope: SecretScope) -> None:
        """Delete a secret; calls that need it are refused from now on."""
        await self._safe(principal).keeper.delete(principal, _ref(principal, name, scope))

    def _upstream(
        self, safe: Safe, principal: Principal, scope: SecretScope, slug: str
    ) -> RemoteServer:
        upstream = safe.flows.server(slug)
        if scope == "developer" and upstream.developer_id != principal.owner:
            raise AppError(
                Code.FORBIDDEN,
                f"Only the developer of {slug} sets its developer secrets.",
                hint="Set it in the scope `user`, or ask the developer.",
            )
        return upstream


def safe_of(services: Services) -> Safe:
    """The process's safe, or `not_found`."""
    if services.safe is None:
        raise AppError(Code.NOT_FOUND, "This server keeps no secrets.")
    return services.safe


def _ref(principal: Principal, name: str, scope: SecretScope) -> SecretRef:
    check_name(name)
    if scope != "project":
        return SecretRef(principal.owner, scope, name)
    if principal.project_id is None:
        raise AppError(
            Code.INVALID_INPUT,
            "A project's secret is set with a key of that project, and yours has none.",
            hint="Issue a key for the project, or use the scope `user`.",
            details={"pointer": "/scope"},
        )
    return SecretRef(principal.owner, "project", name, principal.project_id)
