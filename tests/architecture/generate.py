"""Writes `docs/reference/` from the code: `python -m tests.architecture.generate`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from app.agents.knockout.report import as_json
from app.agents.knockout.schema import report_schema
from app.kernel.errors import CODES, Code
from app.kernel.settings import Settings
from app.orchestration.workflow import schema_page
from tests.sandbox.abuse.page import sandbox_page

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
_NOTE = "<!-- Written from the code by `make docs`; change the code, not this page. -->"

_SETTINGS = f"""# Settings

{_NOTE}

Read once at start from the environment. Sizes are bytes, times are seconds, credits are whole
credits. Lists and other structures are JSON.

| Variable | Default | Meaning |
| --- | --- | --- |
"""

_ERRORS = f"""# Error codes

{_NOTE}

Every error has one of these codes; a code is never renamed or given another meaning. Over HTTP it
is the `code` of an `application/problem+json` answer (RFC 9457), over MCP the `code` of a tool
error; with it come a `message`, often a `hint` of what to do next, and sometimes `details`.
"Again" means that the same call may succeed later without a change.

| Code | HTTP | Again | Meaning |
| --- | --- | --- | --- |
"""


def variables(name: str, field: FieldInfo) -> list[str]:
    """The environment variables that set a field, the usual one first."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"{Settings.model_config['env_prefix']}{name}".upper()]


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    return "" if value in (None, []) else f"`{value}`"


def settings_page() -> str:
    """The page of settings."""
    rows = (
        f"| {', '.join(f'`{variable}`' for variable in variables(name, field))} "
        f"| {_default(field)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    )
    return _SETTINGS + "".join(rows)


def errors_page() -> str:
    """The page of error codes."""
    rows = (
        f"| `{code.value}` | {CODES[code].status} | {'yes' if CODES[code].is_retryable else ''} "
        f"| {CODES[code].meaning} |\n"
        for code in Code
    )
    return _ERRORS + "".join(rows)


PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "sandbox.md": sandbox_page,
    "workflow.schema.json": schema_page,
    "crispr_knockout.report.schema.json": lambda: as_json(report_schema()).decode(),
}


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
