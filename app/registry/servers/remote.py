"""From server.json to the address calls go to: the remote is chosen, its templates filled in.

Values of variables and of headers that hold no secret come with the registration. Secrets never
do: of them only the headers' names are kept, and the vault gives the values at each call.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from app.kernel.egress import check_target
from app.kernel.errors import AppError, Code
from app.registry.needs import is_closed
from app.registry.servers.document import ROOT, refuse
from app.registry.servers.types import Address, Setup, Transport

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_IN_URL = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_IN_HEADER = re.compile(r"[\x20-\x7e]{0,2000}")


class Reader:
    """Makes addresses. `own` are the `host:port` of this platform, which no server may be."""

    def __init__(self, *, allow_private: bool = False, own: frozenset[str] = frozenset()) -> None:
        self._allow_private = allow_private
        self._own = own

    def read(self, document: Mapping[str, Any], setup: Setup) -> Address:
        """The address of a checked server.json.

        The first remote of type streamable-http is taken, else the first of type sse. Raises
        `invalid_input` or `unknown_field` with a pointer below `/server` or `/values`.
        """
        index, remote = _choose(document["remotes"])
        where = f"{ROOT}/remotes/{index}"
        filling = _Filling(setup.values)
        url = filling.url(remote, where)
        self._check_url(url, f"{where}/url")
        fixed, secret = _headers(remote.get("headers", ()), where, filling)
        filling.refuse_unused()
        transport: Transport = remote["type"]
        return Address(
            url,
            transport,
            setup.era,
            fixed,
            secret,
            setup.secret_scope,
            setup.oauth,
            setup.secret_arguments,
        )

    def _check_url(self, url: str, where: str) -> None:
        try:
            found = check_target(url, allow_private=self._allow_private)
        except AppError as error:
            why = error.message.removeprefix("/url: ").rstrip(".")
            raise AppError(
                error.code, f"{where}: {why}.", hint=error.hint, details={"pointer": where}
            ) from None
        if urlsplit(found).netloc.lower() in self._own:
            refuse(where, "is this platform's own address")


def _choose(remotes: Sequence[Mapping[str, Any]]) -> tuple[int, Mapping[str, Any]]:
    for transport in get_args(Transport):
        for index, remote in enumerate(remotes):
            if remote["type"] == transport:
                return index, remote
    raise AssertionError("the schema knows these types alone")


class _Filling:
    """Fills templates in, and knows which values it used."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._used: set[str] = set()

    def url(self, remote: Mapping[str, Any], where: str) -> str:
        variables = remote.get("variables", {})
        return self._fill(remote["url"], variables, f"{where}/url", _IN_URL)

    def header(self, entry: Mapping[str, Any], where: str) -> str | None:
        """The value of a header that is no secret; None if it has none and needs none."""
        if "value" in entry:
            text = self._fill(entry["value"], entry.get("variables", {}), where, _IN_HEADER)
        else:
            found = self._value(entry["name"], entry)
            if found is None:
                return None
            text = found
        if not _IN_HEADER.fullmatch(text):
            refuse(where, "has a value that no header can carry")
        return text

    def _fill(
        self, template: str, variables: Mapping[str, Any], where: str, allowed: re.Pattern[str]
    ) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match[1]
            if name not in variables:
                refuse(where, f"has the variable {{{name}}}, which 'variables' does not declare")
            if variables[name].get("isSecret"):
                refuse(where, f"has the secret {{{name}}} in it; put it into a header")
            value = self._value(name, variables[name])
            if value is None:
                refuse(f"/values/{name}", "is needed for the server's address")
            if not allowed.fullmatch(value):
                refuse(f"/values/{name}", "has a character that cannot stand there")
            return value

        return _PLACEHOLDER.sub(value_of, template)

    def _value(self, name: str, entry: Mapping[str, Any]) -> str | None:
        value: str | None = entry.get("value", self._values.get(name, entry.get("default")))
        if name in self._values:
            self._used.add(name)
            if "value" in entry:
                refuse(f"/values/{name}", "is fixed by the server.json")
        if value is None and entry.get("isRequired"):
            refuse(f"/values/{name}", "is required")
        if value is not None and entry.get("choices") and value not in entry["choices"]:
            refuse(f"/values/{name}", f"must be one of {', '.join(entry['choices'])}")
        return value

    def refuse_unused(self) -> None:
        """Refuse values for what the address does not ask for."""
        for name in sorted(self._values.keys() - self._used):
            refuse(
                f"/values/{name[:100]}",
                "is no variable and no header of the chosen remote that is yours to give",
                code=Code.UNKNOWN_FIELD,
            )


def _headers(
    entries: Sequence[Mapping[str, Any]], where: str, filling: _Filling
) -> tuple[dict[str, str], tuple[dict[str, Any], ...]]:
    """Fixed headers with their values, and the entries of secret ones."""
    fixed: dict[str, str] = {}
    secret: list[dict[str, Any]] = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        at, name = f"{where}/headers/{i}", entry["name"].lower()
        if is_closed(name):
            refuse(f"{at}/name", f"{entry['name']} is not a header that servers may ask for")
        if name in seen:
            refuse(f"{at}/name", f"{entry['name']} is given twice")
        seen.add(name)
        if _is_secret(entry):
            _refuse_plain_secret(entry, at)
            secret.append(dict(entry))
        elif (value := filling.header(entry, at)) is not None:
            fixed[entry["name"]] = value
    return fixed, tuple(secret)


def _is_secret(entry: Mapping[str, Any]) -> bool:
    # Without the mark it is a secret all the same, and a value for it would be one in plain text.
    if entry["name"].lower() == "authorization":
        return True
    inner = entry.get("variables", {}).values()
    return bool(entry.get("isSecret")) or any(each.get("isSecret") for each in inner)


def _refuse_plain_secret(entry: Mapping[str, Any], where: str) -> None:
    """A secret that stands in the document itself would be shown to everybody."""
    value = entry.get("value", "")
    if value and not _PLACEHOLDER.search(value):
        refuse(f"{where}/value", "holds a secret in plain text; leave it out")
    if entry.get("default"):
        refuse(f"{where}/default", "holds a secret in plain text; leave it out")
    for name, variable in entry.get("variables", {}).items():
        for key in ("value", "default"):
            if variable.get("isSecret") and variable.get(key):
                refuse(f"{where}/variables/{name}/{key}", "holds a secret in plain text")
