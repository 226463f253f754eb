"""Looks through one tool definition, rule by rule. Pure but for the names that others have.

It reads what a model would be shown; it judges no code. A finding blocks the approval and is
told to the developer with its place, so rules are made to be silent on honest definitions:
`bench.scanner` counts how often they are not, over public servers.
"""

from collections.abc import Callable, Collection, Iterator

from app.registry.findings import Finding
from app.registry.scanner.characters import bare, disguised, hidden, pushed_out_of_sight, visible
from app.registry.scanner.names import mentioned, skeleton
from app.registry.scanner.phrases import DATA_URL, ENCODED, HIDDEN_MARKUP, INSTRUCTIONS
from app.registry.scanner.texts import Text, TooDeepError, texts
from app.registry.types import ToolDefinition

RULES = (
    "hidden-character",
    "hidden-markup",
    "hidden-whitespace",
    "instruction",
    "encoded-text",
    "cross-tool",
    "homoglyph",
    "shadowing",
    "too-deep",
)
_LONGEST = 20_000
_ABOUT = 60

Names = Callable[[], Collection[str]]


class Scanner:
    """A `Scan`. `servers` are the names no other server may pass for, `tools` all full names."""

    def __init__(self, *, servers: Names = frozenset, tools: Names = frozenset) -> None:
        self._servers = servers
        self._tools = tools

    def __call__(self, definition: ToolDefinition) -> list[Finding]:
        """All findings, in the order of the definition."""
        found = list(self._shadowing(definition))
        others = self._others(definition)
        try:
            for text in texts(definition):
                found += self._read(text, others)
        except TooDeepError:
            found.append(Finding("too-deep", "", "", "It is too large to be read by anybody."))
        return found

    def _others(self, definition: ToolDefinition) -> frozenset[str]:
        """Names of other servers' tools, as they may be written."""
        names = {name for name in self._tools() if name.partition(".")[0] != definition.server}
        return frozenset(names | {name.replace(".", "_", 1) for name in names})

    def _shadowing(self, definition: ToolDefinition) -> Iterator[Finding]:
        mine = skeleton(definition.server)
        for name in self._servers():
            if name != definition.server and skeleton(name) == mine:
                yield Finding("shadowing", "", definition.server,
                              f"The server's name can be taken for {name}.")  # fmt: skip
        full, names = skeleton(definition.full_name), self._tools()
        for name in names:
            if name != definition.full_name and skeleton(name) == full:
                yield Finding("shadowing", "/name", visible(definition.full_name),
                              f"The tool's name can be taken for {name}.")  # fmt: skip

    def _read(self, text: Text, others: Collection[str]) -> Iterator[Finding]:
        yield from _characters(text)
        if len(text.text) > _LONGEST:
            yield Finding("too-deep", text.where, visible(text.text, _ABOUT),
                          f"It is longer than {_LONGEST} characters.")  # fmt: skip
            return
        yield from _phrases(text)
        for name in dict.fromkeys(mentioned(text.text, others)):
            yield Finding("cross-tool", text.where, visible(name),
                          f"It speaks of another server's tool, {name}.")  # fmt: skip


def _characters(text: Text) -> Iterator[Finding]:
    for char in hidden(text.text):
        at = text.text.index(char)
        yield Finding("hidden-character", text.where,
                      visible(text.text[max(0, at - 20) : at + 40]),
                      f"It has the character U+{ord(char):04X}, which is not shown.")  # fmt: skip
    if pushed_out_of_sight(text.text):
        yield Finding("hidden-whitespace", text.where, visible(text.text.split()[-1]),
                      "Text stands behind a long run of blanks or empty lines.")  # fmt: skip
    for word in disguised(text.text):
        yield Finding("homoglyph", text.where, visible(word),
                      "A word is written with letters that look like others.")  # fmt: skip


def _phrases(text: Text) -> Iterator[Finding]:
    if (found := HIDDEN_MARKUP.search(text.text)) is not None:
        yield Finding("hidden-markup", text.where, visible(found.group()),
                      "It has markup that is not shown where it is rendered.")  # fmt: skip
    if (found := ENCODED.search(text.text)) is not None and not DATA_URL.match(text.text):
        yield Finding("encoded-text", text.where, visible(found.group(), _ABOUT),
                      "It has a long encoded text.")  # fmt: skip
    plain = bare(text.text)
    for phrase in INSTRUCTIONS:
        if (found := phrase.pattern.search(plain)) is not None:
            start = max(0, found.start() - 20)
            yield Finding(
                "instruction", text.where, plain[start : found.end() + _ABOUT], phrase.why
            )
