"""What a server needs of its callers: secrets in headers, or a connection by OAuth.

Here are only names. The values are in the vault, and are filled in at each call, for the server's
own origin.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, cast, get_args
from uuid import UUID

from app.registry.readers import flag, mapping, optional_string, refuse, strings, text_value

SecretScope = Literal["user", "project", "developer"]

_PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_.-]{0,63})\}")
SECRET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FIXED = re.compile(r"[\x20-\x7e]{0,500}")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")
# What the transport itself sets, or what would carry one caller's identity to a stranger.
_CLOSED = re.compile(
    r"(?i)(accept|accept-encoding|connection|content-.*|cookie|expect|forwarded|host|last-event-id"
    r"|mcp-.*|proxy-.*|te|trailer|transfer-encoding|upgrade)"
)


def is_closed(header: str) -> bool:
    """Whether no server may ask its callers for a header of this name."""
    return _CLOSED.fullmatch(header) is not None


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """A header that is filled from secrets: `template` holds their names, as `Bearer {token}`."""

    header: str
    template: str
    scope: SecretScope = "user"
    is_required: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the secrets in it, in order."""
        return tuple(dict.fromkeys(_PLACEHOLDER.findall(self.template)))

    def fill(self, values: Mapping[str, str]) -> str:
        """The header's value; `values` holds every name."""
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.template)


@dataclass(frozen=True, slots=True)
class UpstreamOAuth:
    """A server whose users connect their own accounts; a client id only where one was registered
    with its authorization server by hand.
    """

    scopes: tuple[str, ...] = ()
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


def from_server_json(
    entries: Iterable[Mapping[str, Any]], scope: SecretScope = "user"
) -> tuple[SecretHeader, ...]:
    """The secret headers of a remote in server.json (schema 2025-12-11), already checked.

    A header without a `value` is filled by the secret of its own name.
    """
    return tuple(
        SecretHeader(
            header=entry["name"],
            template=entry.get("value") or f"{{{_as_name(entry['name'])}}}",
            scope=scope,
            is_required=bool(entry.get("isRequired")),
        )
        for entry in entries
    )


def _as_name(header: str) -> str:
    name = _UNFIT.sub("_", header)
    return (name if name[:1].isalpha() else f"h{name}")[:64]


def read_secrets(raw: Any, key: str) -> tuple[SecretHeader, ...]:
    """The `secrets` of a server in `mcp_config.yaml`: header -> secret name, or a mapping."""
    return tuple(_header(name, value, f"{key}.{name}") for name, value in mapping(raw, key).items())


def _header(header: str, raw: Any, key: str) -> SecretHeader:
    if not _HEADER.fullmatch(header) or is_closed(header):
        refuse(key, "is no header that can hold a secret")
    if isinstance(raw, str):
        return SecretHeader(header, f"{{{_name(raw, key)}}}")
    entry = mapping(raw, key, frozenset({"name", "scope", "value", "required"}))
    template = _template(entry, key)
    return SecretHeader(
        header,
        template,
        _scope(entry.get("scope"), f"{key}.scope"),
        flag(entry.get("required"), f"{key}.required", default=True),
    )


def _template(entry: Mapping[str, Any], key: str) -> str:
    name, value = entry.get("name"), entry.get("value")
    if value is None:
        return f"{{{_name(name, f'{key}.name')}}}"
    template = text_value(value, f"{key}.value")
    found = _PLACEHOLDER.findall(template)
    if not found:
        refuse(f"{key}.value", "names no secret in braces, as in 'Bearer {TOKEN}'")
    if name is not None and [_name(name, f"{key}.name")] != list(dict.fromkeys(found)):
        refuse(f"{key}.value", f"names other secrets than {name}")
    if not _FIXED.fullmatch(_PLACEHOLDER.sub("", template)):
        refuse(f"{key}.value", "holds a character that no header can carry")
    return template


def _name(raw: Any, key: str) -> str:
    name = optional_string(raw, key) or ""
    if not SECRET_NAME.fullmatch(name):
        refuse(key, "must name a secret: a letter, then letters, digits, '_', '-', '.'")
    return name


def _scope(raw: Any, key: str) -> SecretScope:
    if raw is None:
        return "user"
    if raw not in get_args(SecretScope):
        refuse(key, f"must be {', '.join(get_args(SecretScope))}")
    return cast(SecretScope, raw)


def read_oauth(raw: Any, key: str) -> UpstreamOAuth | None:
    """The `oauth` of a server in `mcp_config.yaml`: true, or a mapping."""
    if raw is None or raw is False:
        return None
    if raw is True:
        return UpstreamOAuth()
    entry = mapping(raw, key, frozenset({"scopes", "client_id", "client_secret"}))
    client_id = optional_string(entry.get("client_id"), f"{key}.client_id")
    secret = optional_string(entry.get("client_secret"), f"{key}.client_secret")
    if secret is not None and client_id is None:
        refuse(f"{key}.client_secret", "needs a 'client_id'")
    return UpstreamOAuth(_scopes(entry.get("scopes"), f"{key}.scopes"), client_id, secret)


def _scopes(raw: Any, key: str) -> tuple[str, ...]:
    scopes: Sequence[str] = tuple(strings(raw, key))
    for scope in scopes:
        if not _SCOPE_TOKEN.fullmatch(scope):
            refuse(key, f"has {scope[:60]!r}, which is no scope (RFC 6749, section 3.3)")
    return tuple(dict.fromkeys(scopes))


class Needs(NamedTuple):
    """All that a configured server needs; `developer_id` is whose developer secrets it gets."""

    secrets: tuple[SecretHeader, ...] = ()
    oauth: UpstreamOAuth | None = None
    developer_id: UUID | None = None


NEEDS_KEYS = frozenset({"secrets", "oauth", "developer"})


def read_needs(entry: Mapping[str, Any], key: str, expand: Callable[[str, str], str]) -> Needs:
    """The needs of a server in `mcp_config.yaml`; `expand(text, key)` fills `${VAR}` in."""
    secrets = read_secrets(entry.get("secrets"), f"{key}.secrets")
    oauth = read_oauth(entry.get("oauth"), f"{key}.oauth")
    developer_id = _developer(entry.get("developer"), f"{key}.developer")
    _check_together(entry, key, secrets, oauth, developer_id)
    if oauth is not None and oauth.client_secret is not None:
        secret = expand(oauth.client_secret, f"{key}.oauth.client_secret")
        oauth = replace(oauth, client_secret=secret)
    return Needs(secrets, oauth, developer_id)


def _check_together(
    entry: Mapping[str, Any],
    key: str,
    secrets: tuple[SecretHeader, ...],
    oauth: UpstreamOAuth | None,
    developer_id: UUID | None,
) -> None:
    if entry.get("url") is None:
        for name, value in (("secrets", secrets), ("oauth", oauth)):
            if value:
                refuse(f"{key}.{name}", "is for servers with a 'url'; use 'env'")
    fixed = {str(name).lower() for name in entry.get("headers") or ()}
    for each in secrets:
        if each.header.lower() in fixed:
            refuse(f"{key}.secrets.{each.header}", "is in 'headers' too")
        if each.header.lower() == "authorization" and oauth is not None:
            refuse(f"{key}.oauth", "and a secret for Authorization leave no room for each other")
        if each.scope == "developer" and developer_id is None:
            refuse(f"{key}.secrets", "has the scope developer, which needs 'developer: <user id>'")


def _developer(raw: Any, key: str) -> UUID | None:
    text = optional_string(raw, key)
    try:
        return None if text is None else UUID(text)
    except ValueError:
        refuse(key, "must be the id of a user")
