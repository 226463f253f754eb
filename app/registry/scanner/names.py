"""Names that pass for others."""

import re
from collections.abc import Collection, Iterator

from app.registry.scanner.characters import unfolded

_SPELT = str.maketrans("0135$", "oiess")
_MENTION = re.compile(
    r"(?<![\w.@/:-])[a-z][a-z0-9_-]{1,62}[._][a-z][a-z0-9_.-]{1,93}", re.IGNORECASE
)


def skeleton(name: str) -> str:
    """Equal for names that people take for each other (after UTS #39, section 4).

    Look-alike letters and digits, case, and what separates words make no difference.
    """
    plain = unfolded(name).lower().translate(_SPELT).replace("l", "i").replace("rn", "m")
    return re.sub(r"[\W_]+", "", plain.replace("vv", "w"))


def mentioned(text: str, names: Collection[str]) -> Iterator[str]:
    """The full names among `names` (`<server>.<tool>`, with a dot or an underscore) in a text."""
    if not names:
        return
    for match in _MENTION.finditer(text):
        word = match.group().rstrip(".")
        if word in names:
            yield word
