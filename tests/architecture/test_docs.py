"""A setting, an error code or a page that nobody could find does not pass."""

import re
from pathlib import Path

import pytest
from pydantic_core import to_json

from app.kernel.errors import CODES, Code
from app.kernel.settings import Settings
from tests.architecture.generate import PAGES, REFERENCE, variables

DOCS = REFERENCE.parent
ROOT = DOCS.parent
PROSE = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "bench" / "README.md"])


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_what_the_code_says(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_says_what_it_is_for_and_is_read_from_its_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = Settings.model_fields[name]
    description = field.description or ""
    assert len(description) > 10
    assert description.endswith(".")
    assert "|" not in description
    default = field.get_default(call_default_factory=True, validated_data={})
    value = "1" if default is None else to_json(default).decode().strip('"')
    for variable in variables(name, field):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            assert name in Settings().model_fields_set


@pytest.mark.parametrize("code", list(Code))
def test_a_code_has_a_status_and_a_meaning(code: Code) -> None:
    info = CODES[code]
    assert 400 <= info.status < 600
    assert info.meaning.endswith(".")
    assert "|" not in info.meaning
    assert f"| `{code.value}` | {info.status} |" in PAGES["errors.md"]()


def test_no_code_is_known_to_the_table_alone() -> None:
    assert set(CODES) == set(Code)


def _links(page: Path) -> list[Path]:
    said = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [(page.parent / one).resolve() for one in said if "://" not in one]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [str(one) for one in _links(page) if not one.exists()] == []


def test_the_index_knows_every_page() -> None:
    linked = set(_links(DOCS / "README.md"))
    pages = [*DOCS.glob("*.md"), *DOCS.glob("howto/*.md"), *DOCS.glob("reference/*.md")]
    assert [page.name for page in pages if page.resolve() not in linked] == ["README.md"]


def test_the_map_of_the_house_names_every_folder() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = [*(ROOT / "app").glob("*/__init__.py"), *(ROOT / "app").glob("*/*/__init__.py")]
    folders = {one.parent.name for one in found}
    assert [name for name in sorted(folders) if not re.search(rf"\b{name}\b", text)] == []
