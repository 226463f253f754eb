"""What the terminal shows of a run: lines of the trace, the roles' progress, money, tables."""

import io
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.billing import credits_text

ROLES = ("planner", "retriever", "coder", "evaluator", "reporter")
_LINES = 14
_PICTURE_WIDTH = 118
_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "refused": ("✗", "yellow"),
}

Event = Mapping[str, Any]


def credits_of(amount_micro: int) -> str:
    """`5 credits`."""
    text = credits_text(amount_micro)
    return f"{text} credit" if text == "1" else f"{text} credits"


def _started(data: Mapping[str, Any]) -> str:
    return f"{data.get('role')} starts" + (
        f" (try {data['attempt']})" if data.get("attempt", 1) > 1 else ""
    )


def _figure(value: Any) -> str:
    """A figure in a few words; what does not fit a line stays in the report."""
    if isinstance(value, Mapping):
        parts = [f"{key} {item}" for key, item in value.items() if isinstance(item, int | float)]
        return ", ".join(parts)
    return str(value) if isinstance(value, str | int | float) else ""


def _check(data: Mapping[str, Any]) -> str:
    words = str(data.get("check", "")).replace("_", " ")
    if figure := _figure(data.get("figure")):
        words += f" ({figure})"
    return words + (f": {data['reason']}" if data.get("reason") else "")


_WORDS: Mapping[str, Any] = {
    "job.queued": lambda d: f"queued, {credits_of(d.get('price_micro', 0))} held",
    "job.started": lambda d: f"attempt {d.get('attempt')} starts",
    "job.retrying": lambda d: f"failed, again in {d.get('delay_s')} s: {_error(d)}",
    "job.succeeded": lambda d: f"done, {credits_of(d.get('charged_micro', 0))} charged",
    "job.failed": lambda d: f"failed, nothing charged: {_error(d)}",
    "job.cancelled": lambda _: "cancelled, nothing charged",
    "job.dead": lambda d: f"put aside, nothing charged: {_error(d)}",
    "job.redriven": lambda d: f"once more what {d.get('from')} was to do",
    "agent.started": _started,
    "agent.finished": lambda d: f"{d.get('role')}: {d.get('summary') or 'done'}",
    "agent.handoff": lambda d: (
        f"{d.get('from')} -> {d.get('to')}" + (f": {d['reason']}" if d.get("reason") else "")
    ),
    "tool.started": lambda d: f"{d.get('tool')} ...",
    "tool.finished": lambda d: f"{d.get('tool')} ({d.get('duration_ms')} ms)",
    "tool.failed": lambda d: f"{d.get('tool')} failed: {_error(d)}",
    "step.started": lambda d: f"{d.get('path')} starts",
    "step.finished": lambda d: f"{d.get('path')} is done ({d.get('duration_ms')} ms)",
    "step.failed": lambda d: f"{d.get('path')} failed: {_error(d)}",
    "step.skipped": lambda d: f"{d.get('path')} is skipped",
    "step.retrying": lambda d: f"{d.get('path')} again in {d.get('delay_s')} s: {_error(d)}",
    "step.waiting": lambda d: (
        f"{d.get('path')} waits" + (f": {d['title']}" if d.get("title") else "")
    ),
    "check.passed": lambda d: f"✓ {_check(d)}",
    "check.failed": lambda d: f"✗ {_check(d)}",
    "progress": lambda d: str(d.get("message", "")),
    "check.not_run": lambda d: f"- {_check(d)} (not run)",
    "report.ready": lambda d: f"report ready, {len(d.get('files', []))} files",
}
_STYLES = {
    "job": "bold",
    "agent": "cyan",
    "step": "cyan",
    "tool": "dim",
    "check.failed": "yellow",
    "check": "green",
    "progress": "dim",
    "report": "bold",
}


def _error(data: Mapping[str, Any]) -> str:
    error = data.get("error") or {}
    return f"{error.get('message', '')} [{error.get('code', '')}]"


def words_of(event: Event) -> str:
    """One line of the trace for people."""
    say = _WORDS.get(event["kind"])
    return str(say(event["data"])) if say else str(event["kind"])


def _time(event: Event) -> str:
    stamp = str(event.get("created_at", "")).replace("Z", "+00:00")
    return datetime.fromisoformat(stamp).strftime("%H:%M:%S") if stamp else ""


def line_of(event: Event) -> Text:
    """The same line with its time and colours."""
    kind = str(event["kind"])
    style = _STYLES.get(kind) or _STYLES.get(kind.split(".", maxsplit=1)[0], "")
    return Text.assemble((f"{_time(event)}  ", "dim"), (words_of(event), style))


class TraceView:
    """Shows a run while it goes on: a live panel in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._states = dict.fromkeys(ROLES, "waiting")
        self.lines: list[Text] = []
        self._progress = ""
        self._live: Live | None = None

    def __enter__(self) -> "TraceView":
        if self._console.is_terminal:
            self._live = Live(self._render(), console=self._console, refresh_per_second=8)
            self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        if self._live is not None:
            self._live.update(self._render())
            self._live.__exit__(*details)

    def add(self, event: Event) -> None:
        """Take in one line of the trace and show it."""
        self.note(event)
        if self._live is not None:
            self._live.update(self._render())
        elif event["kind"] != "tool.started":
            self._console.print(line_of(event), soft_wrap=True)

    def note(self, event: Event) -> None:
        """Take in one line of the trace."""
        data, kind = event["data"], event["kind"]
        if kind == "tool.started":
            self._progress = words_of(event)
        else:
            self._progress = "" if kind.startswith(("tool.", "job.")) else self._progress
            self.lines.append(line_of(event))
        role = data.get("role")
        if kind == "agent.started" and role in self._states:
            self._states[role] = "running"
        elif kind == "agent.finished" and role in self._states:
            self._states[role] = "done"
        elif (
            kind == "agent.handoff"
            and data.get("to") == "coder"
            and data.get("from") == "evaluator"
        ):
            self._states["evaluator"] = "refused"

    def roles(self) -> Text:
        """The five roles and how far each has come."""
        parts: list[Any] = []
        for role, state in self._states.items():
            mark, style = _MARKS[state]
            parts += [(f"{mark} {role}", style), ("   ", "")]
        return Text.assemble(*parts)

    def _render(self) -> RenderableType:
        body: list[RenderableType] = [Text(self._title, style="bold"), self.roles()]
        body += self.lines[-_LINES:]
        if self._progress and self.lines:
            body.append(Text(f"          {self._progress}", style="dim"))
        return Group(*body)


def trace_svg(events: Iterable[Event], title: str) -> str:
    """The trace as a picture (SVG)."""
    console = Console(record=True, width=_PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
    view = TraceView(console, title)
    for event in events:
        view.note(event)
    console.print(view.roles())
    for line in view.lines:
        console.print(line, no_wrap=True, overflow="ellipsis")
    picture = console.export_svg(title=title, unique_id="uaol-trace")
    # The fonts it would load from elsewhere; any monospace font of the reader's does.
    return re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.DOTALL)


def table(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    """A plain table."""
    made = Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        min_width=len(title),
    )
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def money_table(
    quoted: int, charged: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Table:
    """What a run was quoted, what it cost, and the wallet on both sides of it."""
    return table(
        "Credits",
        ["quote", "charged", "wallet before", "wallet after", "held after"],
        [
            [
                credits_text(quoted),
                credits_text(charged),
                credits_text(before["available_micro"]),
                credits_text(after["available_micro"]),
                credits_text(after["held_micro"]),
            ]
        ],
    )
