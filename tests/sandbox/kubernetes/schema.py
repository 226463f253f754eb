"""Checks manifests against Kubernetes' published OpenAPI schema.

The schema is the one that the `kubernetes` package (Apache-2.0) was generated from: its model
classes carry each field's name on the wire (`attribute_map`) and its type (`openapi_types`). A
field that the schema does not have, or of another type, is a problem here, as it is for
`kubectl --validate=strict`; what a field's value may be, only a real API server knows.
"""

import re
from typing import Any

from kubernetes import client

_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "bool": (bool,), "float": (int, float), "datetime": (str,),
}  # fmt: skip
_LIST, _DICT = (
    re.compile(r"list\[(.+)\]$", re.IGNORECASE),
    re.compile(r"dict[\[(]str, ?(.+)[\])]$", re.IGNORECASE),
)


def problems(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with an object, each with its path; empty for a good one."""
    kind = str(manifest.get("kind"))
    version = str(manifest.get("apiVersion", "")).rpartition("/")[2]
    name = f"{version.capitalize()}{kind}"
    if not hasattr(client, name):
        return [f"there is no {kind} of {manifest.get('apiVersion')}"]
    return _check(manifest, name, kind)


def _check(value: Any, kind: str, path: str) -> list[str]:
    if kind == "object":
        return []
    if kind in _PLAIN:
        fits = isinstance(value, _PLAIN[kind]) and not (kind == "int" and isinstance(value, bool))
        return [] if fits else [f"{path}: {value!r} is no {kind}"]
    if match := _LIST.match(kind):
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [
            problem
            for index, item in enumerate(value)
            for problem in _check(item, match[1], f"{path}[{index}]")
        ]
    if match := _DICT.match(kind):
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no object"]
        return [p for key, item in value.items() for p in _check(item, match[1], f"{path}.{key}")]
    return _check_model(value, kind, path)


def _check_model(value: Any, kind: str, path: str) -> list[str]:
    model = getattr(client, kind)
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no {kind}"]
    types = {model.attribute_map[name]: one for name, one in model.openapi_types.items()}
    found = [f"{path}.{name}: {kind} has no such field" for name in value if name not in types]
    found += [
        f"{path}.{model.attribute_map[name]}: missing"
        for name, field in model.model_fields.items()
        if field.is_required() and model.attribute_map.get(name) not in value
    ]
    for name, item in value.items():
        if name in types:
            found += _check(item, types[name], f"{path}.{name}")
    return found
