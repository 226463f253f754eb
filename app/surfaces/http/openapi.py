"""The published description of the HTTP door: every operation names the problem document."""

from typing import Any

from fastapi import FastAPI

from app.surfaces.problems import MEDIA_TYPE, Problem

_SCHEMA = {"$ref": "#/components/schemas/Problem"}
# `default` also keeps FastAPI from documenting its own form of validation errors.
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error (RFC 9457); `code` is stable.",
        "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
    }
}


def install(app: FastAPI) -> None:
    """Add the schema of problem documents to the description."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = described  # type: ignore[method-assign]
