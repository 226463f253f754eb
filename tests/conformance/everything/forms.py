"""Forms for elicitation with every kind of field, and a schema with keywords of 2020-12."""

from typing import Any

_LEVELS = [
    {"const": "low", "title": "Low"},
    {"const": "middle", "title": "Middle"},
    {"const": "high", "title": "High"},
]
_SIZES = ["small", "medium", "large"]

DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Your name", "default": "John Doe"},
        "age": {"type": "integer", "description": "Your age", "default": 30},
        "score": {"type": "number", "description": "Your score", "default": 95.5},
        "status": {
            "type": "string",
            "description": "Your status",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "description": "Are you verified?", "default": True},
    },
    "required": [],
}

CHOICES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "description": "One", "enum": _SIZES},
        "titledSingle": {"type": "string", "description": "One, titled", "oneOf": _LEVELS},
        "legacyEnum": {
            "type": "string",
            "description": "One, titled as before",
            "enum": _SIZES,
            "enumNames": ["Small size", "Medium size", "Large size"],
        },
        "untitledMulti": {
            "type": "array",
            "description": "Several",
            "minItems": 1,
            "maxItems": 3,
            "items": {"type": "string", "enum": _SIZES},
        },
        "titledMulti": {
            "type": "array",
            "description": "Several, titled",
            "minItems": 1,
            "maxItems": 3,
            "items": {"anyOf": _LEVELS},
        },
    },
    "required": [],
}

SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
