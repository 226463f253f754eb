"""The JSON Schema of server.json (the official registry's format, revision 2025-12-11).

It is narrower than the official one where that lets mistakes through: unknown fields are refused,
names must be reverse-DNS, and versions are checked to be exact in `document`.
"""

from typing import Any

PREFIX = "https://static.modelcontextprotocol.io/schemas/"
# Revisions since field names are in camelCase; each later one takes the documents of those before.
REVISIONS = ("2025-09-29", "2025-10-11", "2025-10-17", "2025-12-11")
_DNS = r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
_URL = r"^https?://\S+$"
_VERSION = r"^[0-9A-Za-z][0-9A-Za-z.+_-]*$"
_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"

Schema = dict[str, Any]


def _text(most: int, pattern: str | None = None, *, least: int = 1) -> Schema:
    schema: Schema = {"type": "string", "minLength": least, "maxLength": most}
    return schema if pattern is None else schema | {"pattern": pattern}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def _list(items: Schema, most: int) -> Schema:
    return {"type": "array", "items": items, "maxItems": most}


_FLAG: Schema = {"type": "boolean"}
_INPUT: dict[str, Schema] = {
    "description": _text(2000, least=0),
    "isRequired": _FLAG,
    "isSecret": _FLAG,
    "format": {"enum": ["string", "number", "boolean", "filepath"]},
    "value": _text(2000, least=0),
    "default": _text(2000, least=0),
    "placeholder": _text(2000, least=0),
    "choices": _list(_text(500, least=0), 200),
}
_VARIABLES: Schema = {
    "type": "object",
    "maxProperties": 50,
    "propertyNames": {"pattern": _VARIABLE, "maxLength": 100},
    "additionalProperties": _object([], **_INPUT),
}
_HEADERS = _list(_object(["name"], name=_text(200, _HEADER), variables=_VARIABLES, **_INPUT), 50)
_ENVIRONMENT = _list(
    _object(["name"], name=_text(200, r"^[^\s=]+$"), variables=_VARIABLES, **_INPUT), 100
)
_ARGUMENT = _object(
    ["type"],
    type={"enum": ["positional", "named"]},
    name=_text(200),
    valueHint=_text(200),
    isRepeated=_FLAG,
    variables=_VARIABLES,
    **_INPUT,
) | {
    "if": {"properties": {"type": {"const": "named"}}},
    "then": {"required": ["name"]},
    "else": {"anyOf": [{"required": ["valueHint"]}, {"required": ["value"]}]},
}
_REMOTE = _object(
    ["type", "url"],
    type={"enum": ["streamable-http", "sse"]},
    url=_text(2048, _URL),
    headers=_HEADERS,
    variables=_VARIABLES,
)
_TRANSPORT = _object(
    ["type"],
    type={"enum": ["stdio", "streamable-http", "sse"]},
    url=_text(2048, _URL),
    headers=_HEADERS,
) | {
    "if": {"properties": {"type": {"const": "stdio"}}},
    "then": {"properties": {"url": False, "headers": False}},
    "else": {"required": ["url"]},
}
_PACKAGE = _object(
    ["registryType", "identifier", "transport"],
    registryType=_text(50),
    registryBaseUrl=_text(2048, _URL),
    identifier=_text(2048),
    version=_text(255, _VERSION),
    fileSha256=_text(64, "^[a-f0-9]{64}$"),
    runtimeHint=_text(200),
    transport=_TRANSPORT,
    runtimeArguments=_list(_ARGUMENT, 100),
    packageArguments=_list(_ARGUMENT, 100),
    environmentVariables=_ENVIRONMENT,
) | {
    "if": {"properties": {"registryType": {"const": "mcpb"}}},
    "then": {"required": ["fileSha256"]},
}
_ICON = _object(
    ["src"],
    src=_text(255, r"^https://\S+$"),
    mimeType={"enum": ["image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp"]},
    sizes=_list(_text(20, r"^(\d+x\d+|any)$"), 20),
    theme={"enum": ["light", "dark"]},
)
_REPOSITORY = _object(
    ["url", "source"],
    url=_text(2048, _URL),
    source=_text(100),
    id=_text(200),
    subfolder=_text(500, r"^(?!/)(?!.*\.\.).+$"),
)

SERVER_JSON: Schema = _object(
    ["name", "description", "version"],
    **{
        "$schema": {"enum": [f"{PREFIX}{each}/server.schema.json" for each in REVISIONS]},
        "name": _text(200, _DNS, least=3),
        "title": _text(100),
        "description": _text(100),
        "version": _text(255, _VERSION),
        "repository": _REPOSITORY,
        "websiteUrl": _text(2048, _URL),
        "icons": _list(_ICON, 20),
        "packages": _list(_PACKAGE, 50),
        "remotes": _list(_REMOTE, 20),
        "_meta": {
            "type": "object",
            "maxProperties": 50,
            "properties": {"io.modelcontextprotocol.registry/official": False},
        },
    },
) | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
