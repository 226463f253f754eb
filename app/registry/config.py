"""Reads `mcp_config.yaml`, in Biomni's form with a few keys more, into typed server configurations.

Reading is a pure function of the text and an environment. Every mistake is refused with the path
of the key, since a server started half-configured is worse than one not started.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from app.kernel.errors import AppError, Code
from app.registry.arguments import SecretArgument, read_secret_arguments
from app.registry.needs import NEEDS_KEYS, read_needs
from app.registry.overrides import read_overrides
from app.registry.prices import read_price
from app.registry.readers import flag, mapping, number, optional_string, refuse, strings, text_value
from app.registry.types import RegistryConfig, ServerConfig

RESERVED = frozenset({"bio_agent", "billing", "jobs", "sandbox", "secrets"})
MAX_TIMEOUT_S = 3600.0
MAX_CONFIG_BYTES = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_KEY = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KEYS = frozenset({"command", "args", "env", "url", "headers", "hosts", "transport", "tools"}) | {
    "description",
    "enabled",
    "isolation",
    "price",
    "secret_arguments",
    "timeout",
    "trusted",
    *NEEDS_KEYS,
}


class _StrictLoader(yaml.SafeLoader):
    """YAML where a key given twice is a mistake, not a silent choice of the last one."""


def _build_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> Any:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                refuse(key.value, f"is given twice (line {key.start_mark.line + 1})")
            seen.add(key.value)
    return loader.construct_yaml_map(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _build_mapping)


def load_config(path: Path, environ: Mapping[str, str] = os.environ) -> RegistryConfig:
    """The configuration in the file at `path`; `${VAR}` in env and headers comes from `environ`.

    Raises `config_invalid` naming the key, or the line where the text is no YAML.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise AppError(
            Code.CONFIG_INVALID,
            f"The tool servers' config file {path} cannot be read: {error.strerror}.",
            hint="Set UAOL_MCP_CONFIG to a readable file.",
        ) from error
    return parse_config(parse_yaml(raw), environ)


def parse_yaml(raw: bytes) -> Any:
    """The value of a YAML text in UTF-8; raises `config_invalid`."""
    if len(raw) > MAX_CONFIG_BYTES:
        refuse("the file", f"is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        # A subclass of the safe loader: it builds plain values only.
        return yaml.load(raw.decode(), Loader=_StrictLoader)
    # The constructors of dates, numbers and keys raise what they like.
    except (yaml.YAMLError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise AppError(
            Code.CONFIG_INVALID,
            f"The tool servers' config is not valid YAML: {' '.join(str(error).split())[:300]}",
            hint="Correct mcp_config.yaml and start again.",
        ) from error


def parse_config(value: Any, environ: Mapping[str, str]) -> RegistryConfig:
    """The configuration in an already parsed YAML value; raises `config_invalid`."""
    root = mapping(value, "the file", frozenset({"mcp_servers"}))
    entries = mapping(root.get("mcp_servers"), "mcp_servers")
    return RegistryConfig(tuple(_server(name, raw, environ) for name, raw in entries.items()))


def _server(name: str, raw: Any, environ: Mapping[str, str]) -> ServerConfig:
    key = f"mcp_servers.{name}"
    if not _NAME.fullmatch(name):
        refuse(key, "is no server name: a lower-case letter, then at most 31 of a-z 0-9 _ -")
    if name in RESERVED:
        refuse(key, "is a name the platform keeps for its own tools")
    entry = mapping(raw, key, _KEYS)
    optional_string(entry.get("description"), f"{key}.description")
    is_enabled = flag(entry.get("enabled"), f"{key}.enabled", default=True)
    # A disabled server's secrets may well be absent: its placeholders stay as they are.
    variables = environ if is_enabled else None
    command, url = _address(entry, key)
    return ServerConfig(
        name=name,
        command=command,
        url=url,
        env=_variables(entry.get("env"), f"{key}.env", _ENV_KEY, variables),
        headers=_variables(entry.get("headers"), f"{key}.headers", _HEADER_KEY, variables),
        prices=read_price(entry.get("price"), f"{key}.price"),
        timeout_s=number(entry.get("timeout"), f"{key}.timeout", most=MAX_TIMEOUT_S),
        hosts=_hosts(entry.get("hosts"), f"{key}.hosts"),
        is_trusted=flag(entry.get("trusted"), f"{key}.trusted", default=False),
        is_enabled=is_enabled,
        tools=read_overrides(entry.get("tools"), f"{key}.tools"),
        transport="sse" if entry.get("transport") == "sse" else "streamable-http",
        isolation=_isolation(entry.get("isolation"), command, f"{key}.isolation"),
        secret_arguments=_arguments(entry, f"{key}.secret_arguments", url),
        **read_needs(entry, key, lambda text, at: _filled(text, at, variables))._asdict(),
    )


def _arguments(entry: Mapping[str, Any], key: str, url: str | None) -> tuple[SecretArgument, ...]:
    found = read_secret_arguments(entry.get("secret_arguments"), key)
    if found and url is None:
        refuse(key, "is for servers with a 'url'; use 'env'")
    if entry.get("developer") is None and any(each.scope == "developer" for each in found):
        refuse(key, "has the scope developer, which needs 'developer: <user id>'")
    return found


def _filled(text: str, key: str, environ: Mapping[str, str] | None) -> str:
    return text if environ is None else _substitute(text, key, environ)


def _isolation(raw: Any, command: tuple[str, ...] | None, key: str) -> Literal["shared", "user"]:
    """Whether each user has a process of the server; only processes can be set apart so."""
    if raw in (None, "shared"):
        return "shared"
    if raw != "user":
        refuse(key, "must be shared or user")
    if command is None:
        refuse(key, "is for servers with a 'command' only")
    return "user"


def _address(entry: Mapping[str, Any], key: str) -> tuple[tuple[str, ...] | None, str | None]:
    """The server's command or its URL; exactly one of them is given."""
    command, url = _command(entry, key), _url(entry.get("url"), f"{key}.url")
    if (command is None) == (url is None):
        refuse(key, "needs either 'command' or 'url'")
    known = ("stdio",) if url is None else ("http", "streamable-http", "streamable_http", "sse")
    if entry.get("transport") not in (None, *known):
        refuse(f"{key}.transport", f"must be {' or '.join(known)}")
    return command, url


def _command(entry: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    raw, args = entry.get("command"), tuple(strings(entry.get("args"), f"{key}.args"))
    if raw is None:
        if args:
            refuse(f"{key}.args", "needs a 'command'")
        return None
    words = _words(raw, f"{key}.command") if isinstance(raw, str) else raw
    command = tuple(strings(words, f"{key}.command"))
    if not command or not command[0]:
        refuse(f"{key}.command", "is empty")
    return command + args


def _words(text: str, key: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        refuse(key, f"cannot be split into words: {error}")


def _url(raw: Any, key: str) -> str | None:
    url = optional_string(raw, key)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        refuse(key, "is no URL")
    if not is_good or not url.isascii() or not url.isprintable() or " " in url:
        refuse(key, "is no http or https URL")
    if "@" in parts.netloc:
        refuse(key, "holds a user name or password; put it into 'headers'")
    return url


def _hosts(raw: Any, key: str) -> tuple[str, ...]:
    hosts = tuple(strings(raw, key))
    for host in hosts:
        if not _HOST.fullmatch(host):
            refuse(key, f"has {host[:60]!r}, which is no host name or address")
    return tuple(host.lower() for host in hosts)


def _variables(
    raw: Any, key: str, names: re.Pattern[str], environ: Mapping[str, str] | None
) -> dict[str, str]:
    result = {}
    for name, value in mapping(raw, key).items():
        at = f"{key}.{name}"
        if not names.fullmatch(name):
            refuse(at, "is no name that can be used there")
        text = text_value(value, at)
        result[name] = text if environ is None else _substitute(text, at, environ)
    return result


def _substitute(text: str, key: str, environ: Mapping[str, str]) -> str:
    for name in _VARIABLE.findall(text):
        if name not in environ:
            refuse(key, f"needs the environment variable {name}, which is not set")
    return text_value(_VARIABLE.sub(lambda match: environ[match[1]], text), key)
