"""Reads `WWW-Authenticate` (RFC 9110, section 11.6.1) for what a server says about access."""

import re
from typing import NamedTuple

_LONGEST = 8192
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAM = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_SCHEME = re.compile(r"(?i)(?:^|,)\s*bearer(?=\s|$)")
_ESCAPE = re.compile(r"\\(.)")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class Challenge(NamedTuple):
    """The Bearer challenge of an answer (RFC 6750, section 3; RFC 9728, section 5.1)."""

    error: str | None = None
    scopes: tuple[str, ...] = ()
    resource_metadata: str | None = None


def read_challenge(header: str | None) -> Challenge:
    """The first Bearer challenge; an empty one if there is none that can be read."""
    text = (header or "")[:_LONGEST]
    if (begin := _SCHEME.search(text)) is None:
        return Challenge()
    found: dict[str, str] = {}
    place = begin.end()
    while (match := _PARAM.match(text, place)) is not None:
        quoted, plain = match[2], match[3]
        value = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
        found.setdefault(match[1].lower(), value)
        place = match.end()
    scopes = scopes_of(found.get("scope"))
    return Challenge(found.get("error"), scopes, found.get("resource_metadata"))


def scopes_of(text: object) -> tuple[str, ...]:
    """The scopes in a space-separated list (RFC 6749, section 3.3), each once."""
    words = text.split(" ") if isinstance(text, str) else []
    return tuple(dict.fromkeys(word for word in words if _SCOPE.fullmatch(word)))
