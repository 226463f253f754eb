"""What a task may ask for by name, and what of it the sandbox already has. Pure.

A requirement is a PEP 508 name with version clauses. URLs, paths, options, extras, `===` and
anything not plain ASCII are refused; a marker is decided here, for the sandbox's Python. What
goes on to the resolver is written anew from the parts that were read, never the caller's text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from app.kernel.errors import AppError, Code

MAX_REQUIREMENTS, MAX_CHARS, MAX_CLAUSES = 50, 200, 10
_HINT = "Use names with optional versions, such as `numpy` or `pandas>=2`."
_LINE = re.compile(r"[a-z0-9][a-z0-9-]*([<>=!~]=?[0-9a-z.*+!_-]+(,[<>=!~]=?[0-9a-z.*+!_-]+)*)?")


@dataclass(frozen=True)
class Wanted:
    """A distribution by its canonical name, and the versions that will do."""

    name: str
    versions: SpecifierSet

    @property
    def line(self) -> str:
        """The normal form: two callers who mean the same write the same."""
        return f"{self.name}{self.versions}"

    def is_met(self, installed: Mapping[str, str]) -> bool:
        """Whether `installed`, canonical names to versions, has a version that will do."""
        version = installed.get(self.name)
        return version is not None and self.versions.contains(version, prereleases=True)


def read_requirements(texts: Sequence[str], python: str) -> tuple[Wanted, ...]:
    """The requirements that hold for `python` (a full version), sorted, each once.

    Raises AppError(INVALID_INPUT) for the first that is not a name with versions.
    """
    if len(texts) > MAX_REQUIREMENTS:
        raise _invalid(f"has more than {MAX_REQUIREMENTS} entries", "Name only what is imported.")
    found = {wanted.line: wanted for text in texts if (wanted := _read(text, python))}
    return tuple(found[line] for line in sorted(found))


def _read(text: str, python: str) -> Wanted | None:
    if len(text) > MAX_CHARS:
        raise _invalid(f"has an entry of more than {MAX_CHARS} characters", _HINT)
    if not (text.isascii() and text.isprintable()):
        raise _invalid(f"has {text!a}: not plain ASCII", _HINT)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise _invalid(f"has {text!r}, not a package name", _HINT) from error
    _refuse_extensions(requirement, text)
    if not _holds(requirement, text, python):
        return None
    wanted = Wanted(canonicalize_name(requirement.name), requirement.specifier)
    if not _LINE.fullmatch(wanted.line):
        raise _invalid(f"has {text!r}, whose version cannot be used", _HINT)
    return wanted


def _refuse_extensions(requirement: Requirement, text: str) -> None:
    if requirement.url or requirement.extras or "[" in text:
        raise _invalid(f"has {text!r}: no URLs, no extras", _HINT)
    if len(requirement.specifier) > MAX_CLAUSES:
        raise _invalid(f"has an entry with more than {MAX_CLAUSES} version clauses", _HINT)
    if any(clause.operator == "===" for clause in requirement.specifier):
        raise _invalid(f"has {text!r}: `===` is not supported", "Use `==`.")


def _holds(requirement: Requirement, text: str, python: str) -> bool:
    if requirement.marker is None:
        return True
    try:
        return requirement.marker.evaluate(_environment(python))
    except (UndefinedEnvironmentName, UndefinedComparison) as error:
        raise _invalid(f"has {text!r}, whose marker means nothing here", _HINT) from error


def _environment(python: str) -> dict[str, str]:
    """A marker must not tell one server from another: only Python and Linux are named."""
    return {
        "implementation_name": "cpython", "implementation_version": python, "os_name": "posix",
        "platform_machine": "", "platform_python_implementation": "CPython",
        "platform_release": "", "platform_system": "Linux", "platform_version": "",
        "python_full_version": python, "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux", "extra": "",
    }  # fmt: skip


def _invalid(problem: str, hint: str) -> AppError:
    details = {"field": "requirements"}
    return AppError(Code.INVALID_INPUT, f"`requirements` {problem}.", hint=hint, details=details)
