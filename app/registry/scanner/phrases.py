"""What a description says to a model that it would not say to a person.

The texts are normalised first (`characters.bare`): lower case, one blank between words. Each
pattern is linear in the text: no nested repetition. Attacks they are made from: tool poisoning
and shadowing as described by Invariant Labs (2025), OWASP MCP Top 10 (2025) MCP03 and MCP06.
"""

import re
from typing import NamedTuple


class Phrase(NamedTuple):
    """A pattern, and what is wrong with a text that it is found in."""

    pattern: re.Pattern[str]
    why: str


def _phrase(why: str, *parts: str) -> Phrase:
    return Phrase(re.compile("|".join(parts)), why)


_OVERRIDE = r"(?:ignore|disregard|forget|override|bypass)\b"
_BEFORE = r"(?:previous|prior|above|earlier|preceding|other|system|all|any|your)"
_ORDERS = r"(?:instruction|prompt|rule|guideline|directive|polic|context|safety|restriction|tool)"
_PEOPLE = r"(?:the |your )?(?:user|human|operator|person|customer|developer)s?\b"
_SECRETS = (
    r"(?:~/|\.ssh\b|id_rsa|id_ed25519|\.env\b|\.aws/|\.netrc|\.npmrc|\.kube/|mcp\.json|/etc/passwd"
    r"|/etc/shadow|\bprivate keys?\b|\bapi keys?\b|\bpasswords?\b|\bcredentials?\b"
    r"|\baccess tokens?\b|\bssh keys?\b)"
)
_TALK = (
    r"(?:system prompt|chat history|conversation history|(?:full|whole|entire|complete)"
    r" (?:conversation|chat|context|prompt)|previous messages"
    r"|other tools'? (?:result|output|answer))"
)

INSTRUCTIONS = (
    _phrase(
        "It tells a model to leave its instructions aside.",
        rf"\b{_OVERRIDE}(?: \w+){{0,3}} {_BEFORE}(?: \w+){{0,3}} {_ORDERS}",
        r"\bnew (?:system )?(?:instructions?|rules) (?:are|follow|apply)\b",
        r"\byou are now\b(?! (?:able|ready|connected|logged))",
        r"\bact as (?:a |an |the )?(?:system|administrator|root|developer mode|jailbr)",
    ),
    _phrase(
        "It asks for something to be kept from people.",
        r"\b(?:do not|don't|never|must not|should not|without) (?:\w+ ){0,2}"
        rf"(?:tell|telling|inform|informing|mention(?:ing)?(?: \w+){{0,4}} to|notify|notifying"
        rf"|alert|alerting|reveal(?:ing)?(?: \w+){{0,4}} to|show(?:ing)?(?: \w+){{0,3}} to"
        rf"|asking|warn|warning|disclos(?:e|ing)(?: \w+){{0,4}} to) {_PEOPLE}",
        rf"\b(?:hide|hidden|conceal|keep)\b(?: \w+){{0,4}} from {_PEOPLE}",
        r"\b(?:silently|secretly|covertly|quietly) (?:send|read|call|copy|forward|upload|include"
        r"|append|add|pass|execute|run|collect)\b",
    ),
    _phrase(
        "It speaks in the marks of a model's own conversation.",
        r"<\|?(?:im_start|im_end|system|assistant|endoftext|eot_id)\|?>",
        r"\[/?(?:inst|system)\]",
        r"</?(?:important|secret|instructions?|system|hidden|critical|admin|sys)>",
        r"^(?:system|assistant): ",
    ),
    _phrase(
        "It sends a model to do something else before or beside the call.",
        r"\b(?:before|prior to|after|when|whenever) (?:using|calling|invoking|you (?:use|call))"
        r" (?:this|any|every|each|other|all)\b(?: \w+){0,3},? (?:\w+ ){0,3}"
        r"(?:you must|always|first|must|please)? ?"
        r"(?:read|send|open|cat|access|fetch|upload|copy|forward)\b",
        rf"\b(?:read|open|cat|access|load|send|include|attach|upload|pass|copy|paste|append)\b"
        rf"(?: \w+){{0,3}} (?:the )?(?:contents? of )?(?:file )?{_SECRETS}(?: \w+){{0,6}}"
        r"(?: as | in | into | to )(?:the )?['\"`]?\w+['\"`]? (?:param|arg|field|tool|server|url)",
        r"\b(?:contents? of|read|cat|open) (?:the )?(?:file )?['\"`]?(?:~/\.|/etc/(?:passwd|shadow)"
        r"|~/\.ssh|/root/)",
        rf"\b(?:include|send|pass|put|provide|append|copy|attach|write)\b(?: \w+){{0,4}} {_TALK}",
    ),
    _phrase(
        "It claims a rank over other tools.",
        r"\b(?:always|must|only) (?:use|call|prefer|choose|pick) this (?:tool|server)"
        r"(?: \w+){0,2} (?:instead of|before|over|rather than) (?:any|all|every|other|the other)",
        r"\b(?:other|all other) tools? (?:are|is) (?:deprecated|broken|unsafe|insecure|obsolete"
        r"|forbidden|disabled|not allowed)",
        r"\b(?:do not|don't|never) (?:use|call|trust) (?:any )?other (?:tools?|servers?)\b",
    ),
)

HIDDEN_MARKUP = re.compile(
    r"<!--.{4,}?-->|display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0",
    re.DOTALL | re.IGNORECASE,
)
ENCODED = re.compile(
    r"(?<![A-Za-z0-9+/=_-])(?:[A-Za-z0-9+/]{160,}={0,2}|[0-9a-fA-F]{200,})(?![A-Za-z0-9+/=_-])"
)
DATA_URL = re.compile(r"data:[a-z0-9.+-]+/[a-z0-9.+-]+[;,]", re.IGNORECASE)
