"""Characters that people do not see and models read, and such that look like others.

Facts: Unicode Standard 17, general categories; UTS #39 (confusables); UTR #36 (security).
"""

import re
import unicodedata
from collections.abc import Iterator

_ALLOWED_CONTROLS = "\t\n\r"
_VARIATION = range(0xFE00, 0xFE10)
_SUPPLEMENT = range(0xE0100, 0xE01F0)
_TAGS = range(0xE0000, 0xE0080)
_JOINER = "\u200d"
# A zero width (non-)joiner is spelling in these scripts, and glue within an emoji.
_JOINED = ("ARABIC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "KANNADA", "KHMER", "LAO",
           "MALAYALAM", "MYANMAR", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU", "THAI",
           "TIBETAN")  # fmt: skip
# Latin letters by the letters that are drawn like them. Small Greek letters that stand for
# quantities (alpha, mu, nu) are left out: sciences mix them with Latin ones.
LOOKALIKES = str.maketrans(
    "аАВсСԁеЕһНіІјЈкКмМоОрРԛѕЅтТуУѵԝхХьҺΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲϳꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴօսոցհԼՍ",
    "aABcCdeEhHiIjJkKmMoOpPqsStTyYvwxXbhABEZHIKMNOPTYXocjBPDTGKJCZFMNLSRVHWXYAEIOUounghLU",
)
_BLANK_RUN = re.compile(r"[^\S\n]{60,}\S|(?:[^\S\n]*\n){15,}[^\S\n]*\S")
_STYLES = ("MATHEMATICAL", "FULLWIDTH", "CIRCLED", "SQUARED", "PARENTHESIZED")
_WORD = re.compile(r"[^\W\d_]{2,}")


def hidden(text: str) -> Iterator[str]:
    """Each kind of character in it that is not seen, once."""
    if text.isascii() and text.isprintable():
        return
    seen = set()
    for at, char in enumerate(text):
        if char not in seen and _is_hidden(text, at, char):
            seen.add(char)
            yield char


def _is_hidden(text: str, at: int, char: str) -> bool:
    code, category = ord(char), unicodedata.category(char)
    if category == "Cc":
        return char not in _ALLOWED_CONTROLS
    if code in _VARIATION or code in _SUPPLEMENT:
        # One chooses how a sign is drawn; a run of them carries bytes.
        before = text[at - 1] if at else " "
        return code in _SUPPLEMENT or unicodedata.category(before)[0] not in "SPLN"
    if code in _TAGS or category in ("Co", "Cs", "Cn"):
        return True
    if category == "Cf":
        return not (char in "\u200c\u200d" and _joins(text, at))
    return char in "\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u2028\u2029"


def _joins(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if not before or not after:
        return False
    if text[at] == _JOINER and unicodedata.category(after) == "So":
        return unicodedata.category(before) in ("So", "Sk") or ord(before) in _VARIATION
    return all(unicodedata.name(one, "").startswith(_JOINED) for one in (before, after))


def pushed_out_of_sight(text: str) -> bool:
    """Whether something stands behind so many blanks or empty lines that nobody scrolls there."""
    return _BLANK_RUN.search(text) is not None


def disguised(text: str) -> Iterator[str]:
    """Words of which some letters are drawn like Latin ones and are others."""
    if text.isascii():
        return
    for match in _WORD.finditer(text):
        word = match.group()
        if not word.isascii() and _is_disguised(word):
            yield word


def _is_disguised(word: str) -> bool:
    # A word of one script is a word; one that mixes two, or styled letters, is a costume.
    if any(unicodedata.name(char, "").startswith(_STYLES) for char in word):
        return unfolded(word).isascii()
    return any(ord(char) in LOOKALIKES for char in word) and any(map(_is_latin, word))


def _is_latin(char: str) -> bool:
    return unicodedata.name(char, "").startswith("LATIN")


def unfolded(text: str) -> str:
    """The text with each letter replaced by the Latin one that it is drawn like."""
    return unicodedata.normalize("NFKC", text).translate(LOOKALIKES)


def bare(text: str) -> str:
    """As a model may read it: without what is not seen, look-alikes replaced, blanks as one."""
    shown = "".join(
        char for at, char in enumerate(text) if char.isspace() or not _is_hidden(text, at, char)
    )
    return " ".join(unfolded(shown).lower().split())


def visible(text: str, most: int = 120) -> str:
    """An excerpt in which each character that is not seen is written as its code point."""
    shown = "".join(
        f"<U+{ord(char):04X}>" if _is_hidden(text, at, char) else char
        for at, char in enumerate(text[:most])
    )
    return shown + ("..." if len(text) > most else "")
