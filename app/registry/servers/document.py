"""Reads server.json: what does not fit is refused with a JSON pointer to it."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NoReturn

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from app.kernel.errors import AppError, Code
from app.registry.servers.schema import SERVER_JSON

ROOT = "/server"
MAX_BYTES = 256 * 1024
_SHOWN = 5
_WIDTH = 300
_WILD = re.compile(r"(^|[.+_-])[xX*]($|[.+_-])")
_HINT = "server.json follows the schema of 2025-12-11; see docs/reference/registry.md."
_validator = Draft202012Validator(SERVER_JSON, offline=True)


def refuse(where: str, why: str, *, code: Code = Code.INVALID_INPUT) -> NoReturn:
    """Raise for the value at a JSON pointer into the request."""
    raise AppError(code, f"{where}: {why}.", hint=_HINT, details={"pointer": where})


def check_document(document: Mapping[str, Any]) -> None:
    """Raise `invalid_input` or `unknown_field` unless this is a server.json of one exact version.

    Pointers begin with `/server`, where the document stands in a request.
    """
    _check_size(document)
    errors = list(islice(_validator.iter_errors(dict(document)), _SHOWN))
    if errors:
        raise _misfit(errors)
    _check_version(document["version"], f"{ROOT}/version")
    for i, package in enumerate(document.get("packages", ())):
        if "version" in package:
            _check_version(package["version"], f"{ROOT}/packages/{i}/version")
    if not document.get("remotes"):
        refuse(f"{ROOT}/remotes", "names no remote; packages are listed but never run here")


def _check_size(document: Mapping[str, Any]) -> None:
    try:
        size = len(orjson.dumps(document))
    except (orjson.JSONEncodeError, RecursionError):
        refuse(ROOT, "cannot be written as JSON")
    if size > MAX_BYTES:
        refuse(ROOT, f"is larger than {MAX_BYTES} bytes", code=Code.PAYLOAD_TOO_LARGE)


def _check_version(version: str, where: str) -> None:
    if version.lower() == "latest" or _WILD.search(version):
        refuse(where, f"{version!r} is no exact version")


def _misfit(errors: list[ValidationError]) -> AppError:
    shown = [{"pointer": _place(error), "message": _said(error)} for error in errors]
    is_unknown = isinstance(errors[0].kind, ValidationErrorKind.AdditionalProperties)
    first = shown[0]
    return AppError(
        Code.UNKNOWN_FIELD if is_unknown else Code.INVALID_INPUT,
        f"{first['pointer']}: {first['message']}",
        hint=_HINT,
        details={"pointer": first["pointer"], "errors": shown},
    )


def _said(error: ValidationError) -> str:
    return error.message[:_WIDTH]


def _place(error: ValidationError) -> str:
    """The pointer to what does not fit: an unknown or missing field itself, not its object."""
    path = [*error.instance_path]
    match error.kind:
        case ValidationErrorKind.AdditionalProperties(unexpected=names):
            path += names[:1]
        case ValidationErrorKind.Required(property=name):
            path.append(name)
        case _:
            pass
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join([ROOT, *(f"/{step}" for step in steps)])
