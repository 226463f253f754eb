"""Base arithmetic for the verifier: complements, and which letters a pattern letter stands for."""

from biotools.errors import ToolInputError

_PARTNER = {"A": "T", "C": "G", "G": "C", "T": "A"}
_STANDS_FOR = {
    "A": "A",
    "C": "C",
    "G": "G",
    "T": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}


def opposite_strand(text: str) -> str:
    """The other strand of upper-case DNA, 5' to 3'; any letter outside A, C, G, T becomes N."""
    return "".join(_PARTNER.get(base, "N") for base in reversed(text))


def pattern_letters(pattern: str) -> list[str]:
    """For each letter of an IUPAC pattern the bases it stands for. Errors: invalid_argument."""
    try:
        return [_STANDS_FOR[letter] for letter in pattern.upper()]
    except KeyError as error:
        raise ToolInputError(
            "invalid_argument", f"{pattern!r} is no IUPAC pattern.", "For example NGG or NAG."
        ) from error


def matches_pattern(text: str, pattern: str) -> bool:
    """Whether each base of `text` is one that the pattern allows there."""
    letters = pattern_letters(pattern)
    return len(text) == len(letters) and all(
        base in allowed for base, allowed in zip(text.upper(), letters, strict=True)
    )
