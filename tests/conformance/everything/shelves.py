"""What the server has besides tools: resources, prompts, completions."""

import json
import re
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from tests.conformance.everything.asking import Context, form, given, is_modern, needed
from tests.conformance.everything.blocks import PNG, Wire, embedded, image, text

_LEGACY_NOT_FOUND = -32002
_TEMPLATE = re.compile(r"test://template/([^/]+)/data")
_TEXT, _BINARY, _WATCHED = "test://static-text", "test://static-binary", "test://watched-resource"
RESOURCES = [
    {"uri": _TEXT, "name": "static-text", "description": "A text.", "mimeType": "text/plain"},
    {"uri": _BINARY, "name": "static-binary", "description": "A dot.", "mimeType": "image/png"},
    {"uri": _WATCHED, "name": "watched", "description": "It may change.", "mimeType": "text/plain"},
]
TEMPLATES = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Data of an id.",
        "mimeType": "application/json",
    }
]
_WORDS = ("paris", "park", "party", "pasta")


def _argument(name: str, description: str) -> Wire:
    return {"name": name, "description": description, "required": True}


PROMPTS: list[Wire] = [
    {"name": "test_simple_prompt", "description": "A prompt without arguments."},
    {
        "name": "test_prompt_with_arguments",
        "description": "A prompt with two arguments.",
        "arguments": [_argument("arg1", "The first."), _argument("arg2", "The second.")],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "A prompt that holds a resource.",
        "arguments": [_argument("resourceUri", "The resource's URI.")],
    },
    {"name": "test_prompt_with_image", "description": "A prompt that holds a picture."},
    {"name": "test_input_required_result_prompt", "description": "A prompt that asks first."},
]


async def list_resources(_context: Context, _params: Any) -> Wire:
    return {"resources": RESOURCES}


async def list_templates(_context: Context, _params: Any) -> Wire:
    return {"resourceTemplates": TEMPLATES}


async def read_resource(context: Context, params: Any) -> Wire:
    uri = str(params.uri)
    if uri == _BINARY:
        return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": PNG}]}
    if found := _TEMPLATE.fullmatch(uri):
        said = json.dumps({"id": found[1], "templateTest": True, "data": f"Data for {found[1]}"})
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": said}]}
    texts = {
        _TEXT: "This is the content of the static text resource.",
        _WATCHED: "Nothing has changed yet.",
    }
    if uri not in texts:
        code = INVALID_PARAMS if is_modern(context) else _LEGACY_NOT_FOUND
        raise MCPError(code, "Resource not found", {"uri": uri})
    return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": texts[uri]}]}


async def list_prompts(_context: Context, _params: Any) -> Wire:
    return {"prompts": PROMPTS}


def _prompt(*contents: Wire) -> Wire:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


async def get_prompt(context: Context, params: Any) -> Wire:
    arguments = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _prompt(text("This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            words = f"arg1='{arguments.get('arg1')}', arg2='{arguments.get('arg2')}'"
            return _prompt(text(f"Prompt with arguments: {words}"))
        case "test_prompt_with_embedded_resource":
            held = embedded(arguments["resourceUri"], "text/plain", "What the resource holds.")
            return _prompt(held, text("Please use the resource above."))
        case "test_prompt_with_image":
            return _prompt(image(), text("Please look at the picture above."))
        case "test_input_required_result_prompt":
            return _asking_prompt(context)
    raise MCPError(INVALID_PARAMS, f"There is no prompt {params.name}.")


def _asking_prompt(context: Context) -> Wire:
    answer = given(context).get("user_context", {})
    if answer.get("action") != "accept":
        asked = form("What context should the prompt use?", context={"type": "string"})
        return needed({"user_context": asked})
    return _prompt(text(f"Use this context: {answer['content']['context']}"))


async def complete_argument(_context: Context, params: Any) -> Wire:
    found = [word for word in _WORDS if word.startswith(params.argument.value)]
    return {"completion": {"values": found, "total": len(found), "hasMore": False}}
