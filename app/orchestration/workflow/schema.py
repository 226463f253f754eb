"""The published JSON Schema of a workflow definition, made from its models."""

from typing import Any

import orjson

from app.orchestration.workflow.definition import NAME_PATTERN, Definition

SCHEMA_NAME = "workflow.schema.json"


def definition_schema() -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of a definition, version 1.

    It says everything about the shape; what needs the graph, the expressions or the registry is
    said in `docs/reference/workflow.md`.
    """
    schema = Definition.model_json_schema(by_alias=True)
    _name_patterns(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_page() -> str:
    """The file `docs/reference/workflow.schema.json`."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(definition_schema(), option=options).decode()


def _name_patterns(schema: dict[str, Any]) -> None:
    """Close `nodes` for names that do not fit; pydantic leaves them open."""
    for owner in (schema, *schema["$defs"].values()):
        nodes = owner.get("properties", {}).get("nodes")
        if nodes is not None and "patternProperties" not in nodes:
            nodes["patternProperties"] = {NAME_PATTERN: nodes.pop("additionalProperties")}
        if nodes is not None:
            nodes["additionalProperties"] = False
