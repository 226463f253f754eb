"""`uaol demo`: the knockout of HBB, from an empty machine to a checked report."""

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.billing import credits_text
from app.cli import make_console, run_async
from app.cli.run import ended, follow, upload_files
from app.cli.session import Session, open_session
from app.cli.view import money_table, table
from app.kernel.settings import load_settings

TEMPLATE = "crispr_knockout"
SAMPLES = Path(__file__).parents[2] / "biotools" / "samples"
_WIDE = 170
RECORD = SAMPLES / "human_HBB_region_U01317.gb"
BACKGROUND = SAMPLES / "human_chr6p21_HLA_BA000025.gb.gz"


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for the report and its files.",
)
def demo(out: Path) -> None:
    """Design a checked CRISPR knockout of HBB; needs no key, no network, no Docker."""
    run_async(_demo(out, make_console()))


async def _demo(out: Path, console: Console) -> None:
    began = time.monotonic()

    def progress(message: str) -> None:
        console.print(f"{time.monotonic() - began:5.1f} s  {message} ...", style="dim")

    async with open_session(load_settings(), progress) as session:
        progress(f"Serving at {session.url}, MCP at {session.url}/mcp")
        job, before, quote = await _knockout(session, console)
        after = await session.connection.call("billing.get_wallet")
        files = await session.connection.download(job["job_id"], out)
    console.print()
    _show_report(out, console)
    console.print(money_table(quote["amount_micro"], job["charged_micro"], before, after))
    console.print()
    rows = [[path, f"{path.stat().st_size:,} bytes"] for path in files]
    console.print(table("Files", ["path", "size"], rows))
    console.print(f"\nDone in {time.monotonic() - began:.1f} s.", style="bold")


async def _knockout(
    session: Session, console: Console
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    connection = session.connection
    before = await connection.call("billing.get_wallet")
    quote = await connection.call("billing.get_quote", {"template": TEMPLATE})
    console.print(
        f"Quote: {credits_text(quote['amount_micro'])} credits for a checked result, nothing"
        f" for a failure.  Wallet: {credits_text(before['available_micro'])} credits."
    )
    known = (await connection.call("bio_agent.list_templates"))["templates"]
    schema = next(item["input_schema"] for item in known if item["name"] == TEMPLATE)
    values = {"record": RECORD, "gene": "HBB", "backgrounds": [BACKGROUND]}
    ready = await upload_files(connection, schema, values)
    submitted = await connection.call("bio_agent.run_task", {"template": TEMPLATE, "input": ready})
    job_id = str(submitted["job_id"])
    await follow(connection, job_id, console, f"CRISPR knockout of HBB  job {job_id}")
    return await ended(connection, job_id), before, quote


def _show_report(folder: Path, console: Console) -> None:
    """Print the report as a researcher reads it."""
    from rich.markdown import Markdown

    text = (folder / "report.md").read_text(encoding="utf-8")
    # Its tables are wide; drawn in a narrow terminal they would lose letters of the sequences.
    if console.is_terminal and console.width >= _WIDE:
        console.print(Markdown(text))
    else:
        console.print(text, markup=False, soft_wrap=True)
    verdict = json.loads((folder / "report.json").read_text(encoding="utf-8"))["verdict"]
    console.print(f"Verdict: {verdict if isinstance(verdict, str) else json.dumps(verdict)}\n")
