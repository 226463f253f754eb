"""Reads the operator's policies; a file with a mistake is refused, never half used."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.kernel.egress import literal_of
from app.kernel.errors import AppError, Code
from app.sandbox.egress.policies import BIO, Policy, is_host

_MOST_BYTES = 2**40
_MAX_FILE = 2**20
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def _policy_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a name is a lower-case letter, then at most 31 of a-z 0-9 _ -")
    return name


def _host(name: str) -> str:
    if literal_of(name) is not None:
        raise ValueError("an address is never allowed; give the host's name")
    if "*" in name:
        raise ValueError("names are exact; list each host")
    if not is_host(name.lower()):
        raise ValueError("no host name (letters of other scripts are written as xn--...)")
    return name.lower()


_Name = Annotated[str, AfterValidator(_policy_name)]
_Host = Annotated[str, AfterValidator(_host)]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Bytes = Annotated[int, Field(ge=1, le=_MOST_BYTES)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    hosts: dict[_Host, Annotated[list[_Port], Field(min_length=1)]] = Field(
        min_length=1, max_length=1000
    )
    plain_ports: list[_Port] = [80]
    bytes_up: _Bytes = Policy.bytes_up
    bytes_down: _Bytes = Policy.bytes_down
    bytes_per_s: Annotated[int, Field(ge=1024, le=_MOST_BYTES)] = Policy.bytes_per_s
    connections: Annotated[int, Field(ge=1, le=200)] = Policy.connections
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = Policy.calls
    seconds: Annotated[float, Field(gt=0, le=86_400)] = Policy.seconds
    idle_s: Annotated[float, Field(gt=0, le=3600)] = Policy.idle_s

    @field_validator("hosts", mode="before")
    @classmethod
    def _once(cls, hosts: Any) -> Any:
        names = [str(host).lower() for host in hosts] if isinstance(hosts, dict) else []
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is given twice")
        return hosts

    def policy(self, name: str) -> Policy:
        """The entry as the policy of that name."""
        values = self.model_dump()
        values["plain_ports"] = frozenset(self.plain_ports)
        values["hosts"] = {host: frozenset(ports) for host, ports in self.hosts.items()}
        return Policy(name, **values)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    policies: dict[_Name, _Entry | None]


class _StrictLoader(yaml.SafeLoader):
    """YAML where a key given twice is a mistake, not a silent choice of the last one."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> Any:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is given twice", node.start_mark
            )
    return loader.construct_yaml_map(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_policies(path: Path | None) -> Mapping[str, Policy]:
    """The policies by name: `bio`, and those of the YAML or JSON file at `path`.

    An entry of the same name replaces `bio`, null takes it away. Raises AppError(CONFIG_INVALID)
    that names the key, or the line where the text is no YAML.
    """
    found = {BIO.name: BIO}
    if path is None:
        return found
    for name, entry in _parse(path).policies.items():
        if entry is None:
            found.pop(name, None)
        else:
            found[name] = entry.policy(name)
    return found


def _parse(path: Path) -> _File:
    try:
        return _File.model_validate(_read(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
        _refuse(path, f"{key[:200]}: {first['msg'].removeprefix('Value error, ')}", key)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE + 1)
    except OSError as error:
        _refuse(path, f"it cannot be read: {error.strerror}")
    if len(raw) > _MAX_FILE:
        _refuse(path, f"it is larger than {_MAX_FILE} bytes")
    try:
        # A subclass of the safe loader: it builds plain values only.
        return yaml.load(raw.decode(), Loader=_StrictLoader)
    # The constructors of dates, numbers and keys raise what they like.
    except (yaml.YAMLError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        _refuse(path, f"it is not valid YAML: {' '.join(str(error).split())[:300]}")


def _refuse(path: Path, problem: str, key: str = "") -> NoReturn:
    raise AppError(
        Code.CONFIG_INVALID,
        f"The sandbox's egress policies in {path} cannot be used: {problem}.",
        hint="Correct the file that UAOL_SANDBOX_EGRESS names and start again.",
        details={"key": key} if key else None,
    )
