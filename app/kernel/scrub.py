"""Takes injected secrets out of whatever goes back to people, models, logs and traces.

A server that echoes what it was sent must not hand a secret to the model that called it. Every
value is looked for as it is and in the forms in which software writes it down: base64 (at every
offset, so also inside an encoded header), percent-encoding, JSON and HTML escapes, hex.
"""

import base64
import html
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

from app.kernel.errors import AppError

HIDDEN = "***"
SHORTEST = 6
"""Values of fewer characters are not looked for: they would match everywhere."""

_MOST_RECENT = 256
_DEPTH = 200
_NESTED = 3
_Bytes = bytes
_PERCENT = re.compile(r"%[0-9A-F]{2}")


class Scrubber:
    """Hides a set of secret values. Without any, everything passes through untouched."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are values as they are sent; of `Bearer abc` the `abc` is hidden too."""
        found = {form for value in secrets for part in _parts(value) for form in _forms(part)}
        self._needles = sorted((form.encode() for form in found), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._needles)))

    def __bool__(self) -> bool:
        return bool(self._needles)

    def text(self, text: str) -> str:
        """`text` without the secrets."""
        if not self._needles:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        return self._plain(raw).decode("utf-8", "surrogatepass") if self._is_in(raw) else text

    def value(self, value: Any, depth: int = 0) -> Any:
        """A JSON value without the secrets, in names of fields as well."""
        if not self._needles:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict | list | tuple) and depth > _DEPTH:
            return HIDDEN
        if isinstance(value, dict):
            return {self.text(str(k)): self.value(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, depth + 1) for item in value]
        return value

    def error(self, error: AppError) -> AppError:
        """The same error without the secrets."""
        if not self._needles:
            return error
        hint = None if error.hint is None else self.text(error.hint)
        message, details = self.text(error.message), self.value(error.details)
        return AppError(error.code, message, hint=hint, details=details)

    def bytes(self, raw: _Bytes) -> _Bytes:
        """Raw JSON or text without the secrets; what was JSON before is JSON after."""
        if not self._needles or not (self._is_in(raw) or b"\\u00" in raw):
            return raw
        clean = self._plain(raw)
        try:
            if b"\\u00" not in raw:
                orjson.loads(clean)
                return clean
            parsed = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return self._parsed(raw, clean)
        return self._spelt_out(raw, parsed)

    def _parsed(self, raw: _Bytes, clean: _Bytes) -> _Bytes:
        """For a match that began within an escape; plain text stays as it was cleaned."""
        try:
            return orjson.dumps(self.value(orjson.loads(raw)))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return clean

    def _spelt_out(self, raw: _Bytes, parsed: Any) -> _Bytes:
        """For JSON that spells plain characters as escapes, which hides a value from a search."""
        clean = self.value(parsed)
        return raw if clean == parsed else orjson.dumps(clean)

    def _is_in(self, raw: _Bytes) -> bool:
        # Twenty searches of memory are faster than one expression of twenty branches.
        return any(needle in raw for needle in self._needles)

    def _plain(self, raw: _Bytes) -> _Bytes:
        return self._pattern.sub(HIDDEN.encode(), raw)


def _parts(value: str) -> Iterator[str]:
    """The value, and what follows a scheme such as `Bearer`."""
    yield value.strip()
    _, is_split, rest = value.strip().partition(" ")
    if is_split:
        yield rest.strip()


def _forms(value: str) -> set[str]:
    if len(value) < SHORTEST:
        return set()
    raw = value.encode()
    forms = _escaped(value) | {html.escape(value), raw.hex(), raw.hex().upper()}
    escaped = {quote(value, safe=""), quote(value), quote_plus(value)}
    forms |= escaped | {_PERCENT.sub(lambda hit: hit[0].lower(), each) for each in escaped}
    forms |= {quote(each, safe="") for each in escaped}
    forms |= set(_base64(raw))
    return {form for form in forms if len(form) >= SHORTEST}


def _escaped(value: str) -> set[str]:
    """The value in JSON, in JSON within JSON, and so on; some writers escape the slash too."""
    forms, newest = {value}, {value}
    for _ in range(_NESTED):
        once = {json.dumps(form)[1:-1] for form in newest}
        newest = once | {form.replace("/", "\\/") for form in once}
        forms |= newest
    return forms


def _base64(raw: bytes) -> Iterator[str]:
    """What of the value's base64 is the same at whatever offset it is within other bytes."""
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw).decode()
        # The first characters mix with what stands before, the last with what follows.
        begin = (0, 2, 3)[offset]
        end = len(raw) + offset
        inner = coded[begin : end * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
        yield inner.replace("+", "%2B").replace("/", "%2F")
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()


class Recent:
    """The values this process injected last, for log lines of whatever task."""

    def __init__(self, most: int = _MOST_RECENT) -> None:
        self._most = most
        self._known: OrderedDict[str, Scrubber] = OrderedDict()
        self._lock = Lock()

    def add(self, values: Iterable[str]) -> None:
        """Hide these values from now on; the oldest of more than `most` leave."""
        with self._lock:
            for value in values:
                if value not in self._known:
                    self._known[value] = Scrubber([value])
                self._known.move_to_end(value)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def text(self, text: str) -> str:
        """`text` without any of them."""
        with self._lock:
            known = list(self._known.values())
        for scrubber in known:
            text = scrubber.text(text)
        return text


injected = Recent()
"""Of this process; whoever reveals a secret to send it adds it."""
