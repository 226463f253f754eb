"""File names and media types as they may be shown, stored and sent in a header."""

import re
import unicodedata

from app.kernel.errors import AppError, Code

_LONGEST_BYTES = 255
_LONGEST_ENDING = 20
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


def clean_name(name: str) -> str:
    """The last part of a path, without control characters, leading dots or outer spaces.

    At most 255 bytes of UTF-8, the ending kept. Raises `invalid_input` if nothing is left.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    # All of category C: control and format characters, such as those that turn text around.
    visible = "".join(c for c in last if not unicodedata.category(c).startswith("C"))
    cleaned = _shorten(visible.strip().lstrip(". ")).rstrip()
    if not cleaned:
        raise AppError(
            Code.INVALID_INPUT,
            "The file has no usable name.",
            hint="Give it a name such as 'record.gb'.",
            details={"pointer": "/name"},
        )
    return cleaned


def clean_media_type(media_type: str) -> str:
    """The `type/subtype` in lower case, without parameters. Raises `invalid_input`."""
    essence = media_type.split(";", 1)[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(essence) is None:
        raise AppError(
            Code.INVALID_INPUT,
            "This is not a media type.",
            hint="Send one such as 'text/plain' or 'application/octet-stream'.",
            details={"pointer": "/media_type"},
        )
    return essence


def _shorten(name: str) -> str:
    if len(name.encode()) <= _LONGEST_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    tail = (dot + ending).encode()
    if not stem or len(tail) > _LONGEST_ENDING:
        stem, tail = name, b""
    # Cutting may split a character; what is left of it is dropped.
    return stem.encode()[: _LONGEST_BYTES - len(tail)].decode(errors="ignore") + tail.decode()
