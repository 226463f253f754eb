"""The reference page says what the code does."""

import dataclasses
from pathlib import Path

from app.sandbox.egress import BIO, Policy
from app.sandbox.egress.answers import _CODES, MAX_ROWS
from app.sandbox.egress.door import MAX_LISTED

PAGE = (Path(__file__).parents[3] / "docs/reference/egress.md").read_text(encoding="utf-8")


def test_every_code_is_on_the_page_with_its_status() -> None:
    table = PAGE.partition("| code | status | when |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    told = {name.strip(" `"): int(status) for name, status in rows}
    assert told == {name: status.value for name, (status, _, _) in _CODES.items()}


def test_every_cap_is_on_the_page_with_its_default() -> None:
    for cap in dataclasses.fields(Policy):
        if cap.name in ("name", "hosts", "plain_ports"):
            continue
        assert f"| `{cap.name}` | {int(cap.default)} |" in PAGE  # type: ignore[call-overload]
    assert f"The first {MAX_LISTED:,} calls" in PAGE
    assert f"at most {MAX_ROWS} rows" in PAGE


def test_every_host_of_bio_is_on_the_page_and_no_other() -> None:
    table = PAGE.partition("| | hosts |")[2].partition("\n\n")[0]
    named = {word for word in table.replace("`", " ").split() if "." in word and "/" not in word}
    assert named == set(BIO.hosts)
