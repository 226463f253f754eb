"""What a secret may be called, and what its value may be."""

import re

from app.kernel.errors import AppError, Code
from app.kernel.scrub import SHORTEST

LONGEST = 8192
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
# A header's value (RFC 9110, section 5.5) in the part of it that every server reads alike.
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def check_name(name: str) -> str:
    """The name, or `invalid_input`."""
    if _NAME.fullmatch(name):
        return name
    raise _invalid(
        "name", "A secret's name is a letter, then at most 63 of letters, digits, '_', '-', '.'."
    )


def check_value(value: str) -> bytes:
    """The value's bytes, or `invalid_input`; the message never repeats any of it."""
    if not SHORTEST <= len(value) <= LONGEST:
        raise _invalid("value", f"A secret's value has {SHORTEST} to {LONGEST} characters.")
    if not _VALUE.fullmatch(value):
        raise _invalid(
            "value",
            "A secret's value is printable ASCII on one line, without spaces around it.",
        )
    return value.encode()


def _invalid(field: str, message: str) -> AppError:
    return AppError(Code.INVALID_INPUT, message, details={"pointer": f"/{field}"})
