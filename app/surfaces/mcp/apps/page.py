"""A run as one HTML page: all in itself, everything from outside escaped, one script, by hash.

The Content Security Policy names the script's hash, so that nothing else runs even where an
escape were missing; hosts put a policy of their own around it.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

_HERE = Path(__file__).parent
_SCRIPT = (_HERE / "view.js").read_text()
_STYLE = (_HERE / "view.css").read_text()
_HASH = b64encode(sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; script-src 'sha256-{_HASH}'; style-src 'unsafe-inline';"
    " img-src data:; base-uri 'none'; form-action 'none'"
)
_CREDIT = 1_000_000


def page(job: Mapping[str, Any] | None, report: str | None, images: Mapping[str, str]) -> str:
    """The page of a job as its view has it, or the empty page that waits for its host.

    `report` is Markdown; its pictures come from `images` (name to `data:` URI), none from
    elsewhere. HTML in it is text, and its links are.
    """
    body = "" if job is None else _summary(job)
    shown = "" if report is None else _rendered(report, images)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_title(job))}</title><style>{_STYLE}</style></head>"
        f'<body><section id="job" aria-live="polite">{body}</section>'
        f'<article id="report">{shown}</article><script>{_SCRIPT}</script></body></html>'
    )


def _title(job: Mapping[str, Any] | None) -> str:
    return "Run" if job is None else f"{job.get('template') or job.get('tool') or job['kind']}"


def _summary(job: Mapping[str, Any]) -> str:
    """What the script shows too; see `summary` there."""
    charged = job["charged_micro"]
    rows = [("Run", str(job["job_id"])), ("Cost", "" if charged is None else _credits(charged))]
    if error := job.get("error"):
        rows += [("Error", f"{error.get('code', '')}: {error.get('message', '')}")]
        rows += [("What to do", str(error.get("hint") or ""))]
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows if text
    )
    state = escape(str(job["status"]))
    return (
        f'<h1>{escape(_title(job))} <span class="state" data-state="{state}">{state}</span></h1>'
        f"<dl>{listed}</dl>"
    )


def _credits(micro: int) -> str:
    return f"{micro / _CREDIT:g} credits"


def _rendered(report: str, images: Mapping[str, str]) -> str:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    # A page in a frame has nowhere to go: links stay texts.
    markdown.disable(["link", "autolink", "html_inline", "html_block", "reference"])
    markdown.add_render_rule("image", _image)
    return str(markdown.render(report, {"images": images}))


def _image(
    _renderer: RendererHTML,
    tokens: list[Token],
    place: int,
    _options: OptionsDict,
    env: EnvType,
) -> str:
    token = tokens[place]
    source = env["images"].get(unquote(str(token.attrs.get("src", ""))))
    alt = escape(token.content)
    return f"[{alt}]" if source is None else f'<img alt="{alt}" src="{escape(source)}">'
