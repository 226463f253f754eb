"""The one error a tool raises for bad input.

A tool never guesses: whatever it cannot use it refuses with a stable code, a sentence saying what
was found, and a hint saying what to do next. The server turns it into an `isError` result.
"""

from typing import Literal, get_args

Code = Literal[
    "empty_file",
    "file_too_large",
    "not_a_sequence",
    "protein_not_dna",
    "gene_not_found",
    "no_coding_sequence",
    "no_pam_site",
    "bad_location",
    "invalid_argument",
    "unknown_vector",
    "vector_site_missing",
    "no_primers",
    "model_unavailable",
]
CODES: tuple[str, ...] = get_args(Code)


class ToolInputError(Exception):
    """Input a tool cannot use. `code` is stable, `message` says what, `hint` says what to do."""

    def __init__(self, code: Code, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.hint = hint
