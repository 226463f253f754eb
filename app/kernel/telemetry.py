"""What the process tells about itself: logs without secrets, and its metrics."""

import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.scrub import injected

__all__ = [
    "JsonFormatter",
    "Metrics",
    "PlainFormatter",
    "configure_logging",
    "request_id",
    "scrub",
]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_HIDDEN = "***"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"uaol_[A-Za-z0-9_-]{32,}"), "uaol_" + _HIDDEN),
    (re.compile(r"\b(sk-|whsec_)[A-Za-z0-9_-]{16,}"), r"\1" + _HIDDEN),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]+"), r"\1" + _HIDDEN),
    (re.compile(r"(?i)\b(authorization[\"']?\s*[:=]\s*[\"']?)[^\"',;\r\n]+"), r"\1" + _HIDDEN),
    # Up to the last @ of the word: passwords in DSNs are not always percent-encoded.
    (re.compile(r"(://[^\s:/@\"']*:)[^\s\"']+(?=@)"), r"\1" + _HIDDEN),
    (
        re.compile(
            r"(?i)([\w-]*(?:password|passwd|pwd|secret|api[_-]?key|token|signature)"
            r"[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&)}\]]+"
        ),
        r"\1" + _HIDDEN,
    ),
)
# What moves a terminal's cursor, begins a line or turns the direction of what follows.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SECRET_FIELD = re.compile(r"(?i)(password|passwd|secret|api_?key|token|authorization|cookie)$")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def scrub(text: str) -> str:
    """`text` with API keys, bearer tokens, passwords, signatures and injected secrets hidden."""
    text = injected.text(text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    # File names can hold bytes that are not UTF-8; a log line cannot.
    return text.encode("utf-8", "backslashreplace").decode()


def _clean(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 64 else str(value)
    if _SECRET_FIELD.search(name):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", item) for item in value]
    return scrub(str(value))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that the program added."""
    return {key: _clean(key, value) for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: ts, level, logger, message, request_id, then the extra fields.

    Secrets are hidden here, not in a filter: a filter of a logger does not see the records of
    the loggers below it, and tracebacks are text only once they are formatted.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        body: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": scrub(record.getMessage()),
        }
        if (current := request_id.get()) is not None:
            body["request_id"] = current
        if record.exc_info:
            body["exception"] = scrub(self.formatException(record.exc_info))
        body |= {key: value for key, value in _extra(record).items() if key not in body}
        return orjson.dumps(body).decode()


class PlainFormatter(logging.Formatter):
    """`warning: message (field: value)`, for people; secrets are hidden as in `JsonFormatter`.

    Much of it are words of strangers: they get no line of their own, and no say over the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record, and below it the traceback if there is one."""
        more = ", ".join(f"{key}: {value}" for key, value in _extra(record).items())
        lines = [f"{record.levelname.lower()}: {scrub(record.getMessage())}"]
        lines[0] += f" ({more})" if more else ""
        if record.exc_info:
            lines += scrub(self.formatException(record.exc_info)).split("\n")
        return "\n".join(_CONTROLS.sub(lambda found: repr(found[0])[1:-1], one) for one in lines)


class _OwnHandler(logging.StreamHandler[Any]):
    """The process's own handler; a class, so that configuring twice does not double the lines."""


def configure_logging(level: str = "INFO", *, is_plain: bool = False) -> None:
    """Send every log record of the process to standard error, as one line of JSON or as words.

    Raises `config_invalid` for a level that logging does not know.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise AppError(
            Code.CONFIG_INVALID,
            f"'{level}' is no log level.",
            hint="Set UAOL_LOG_LEVEL to DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        )
    handler = _OwnHandler(sys.stderr)
    handler.setFormatter(PlainFormatter() if is_plain else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [kept for kept in root.handlers if not isinstance(kept, _OwnHandler)]
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
