"""What a task may ask for, decided before anything starts: names, limits, requirements. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from app.kernel.errors import AppError, Code
from app.sandbox.types import Limits, TaskSpec

MAX_CODE_BYTES = 2**20
MAX_NAME_BYTES = 200
MAX_INPUTS = 100
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")

# Shown to a caller whose requirement is unknown: what people mean by "is there a package for it".
SCIENCE = (
    "biopython", "matplotlib", "networkx", "numpy", "pandas", "primer3-py", "pydna", "pyarrow",
    "lightgbm", "scikit-learn", "scipy", "statsmodels", "sympy", "py2bit", "plotly", "seaborn",
)  # fmt: skip


def check_spec(spec: TaskSpec, ceiling: Limits) -> None:
    """Refuse a task that is malformed or asks for more than `ceiling`.

    Raises AppError(INVALID_INPUT) that names the field.
    """
    if len(spec.code.encode("utf-8", "surrogatepass")) > MAX_CODE_BYTES:
        raise _invalid("code", f"is longer than {MAX_CODE_BYTES} bytes", "Pass data as a file.")
    _check_encodable(spec.code)
    _check_limits(spec.limits, ceiling)
    _check_input_names([file.name for file in spec.input_files])
    if spec.session_id is not None and not _SESSION.fullmatch(spec.session_id):
        hint = "Use 1 to 100 letters, digits and . _ : -, a letter or digit first."
        raise _invalid("session_id", f"is {spec.session_id[:100]!r}", hint)


def check_requirement_names(requirements: Iterable[str]) -> None:
    """Refuse anything but PEP 508 names with versions. Raises AppError(INVALID_INPUT)."""
    for text in requirements:
        _parsed(text)


def unmet(requirements: Iterable[str], installed: Mapping[str, str], python: str) -> list[str]:
    """Those that the sandbox's Python does not satisfy as it is; see `check_requirements`."""
    return [text for text in requirements if not _is_met(_parsed(text), installed, python)]


def check_requirements(
    requirements: Iterable[str], installed: Mapping[str, str], python: str
) -> None:
    """Refuse a requirement that the sandbox's Python does not already satisfy.

    `installed` maps canonical distribution names to versions; `python` is its version, for
    markers. Raises AppError: INVALID_INPUT for anything but a PEP 508 name with versions
    (no URL, option, path or extra), SANDBOX_REQUIREMENT_UNKNOWN for what is not there.
    """
    if missing := unmet(requirements, installed, python):
        names = available(installed)
        raise AppError(
            Code.SANDBOX_REQUIREMENT_UNKNOWN,
            f"Not installed in the sandbox: {', '.join(missing)}.",
            hint=f"Nothing is installed at run time. There is: {', '.join(names)}.",
            details={"missing": missing, "available": names},
        )


def available(installed: Mapping[str, str]) -> list[str]:
    """The science packages among `installed`, as `name==version`, sorted."""
    return sorted(f"{name}=={installed[name]}" for name in SCIENCE if name in installed)


def output_name_problem(name: str) -> str | None:
    """Why an output's relative name is refused, or None; the host never trusts the runner's."""
    if not name or len(name.encode()) > 2 * MAX_NAME_BYTES:
        return "name is empty or too long"
    if any(unicodedata.category(char)[0] == "C" for char in name):
        return "name has control characters"
    parts = name.split("/")
    if "\\" in name or any(part in ("", ".", "..") for part in parts):
        return "name is not a plain relative path"
    return None


def _parsed(text: str) -> Requirement:
    hint = "Use names with optional versions, such as `numpy` or `pandas>=2`."
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise _invalid("requirements", f"has {text!r}, not a package name", hint) from error
    if requirement.url or requirement.extras:
        raise _invalid("requirements", f"has {text!r}: no URLs, no extras", hint)
    return requirement


def _is_met(requirement: Requirement, installed: Mapping[str, str], python: str) -> bool:
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    if requirement.marker and not requirement.marker.evaluate(environment):
        return True
    version = installed.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _check_encodable(code: str) -> None:
    try:
        code.encode()
    except UnicodeEncodeError as error:
        raise _invalid("code", "is not valid Unicode text", "Send UTF-8.") from error


def _check_limits(limits: Limits, ceiling: Limits) -> None:
    highest = asdict(ceiling)
    for name, value in asdict(limits).items():
        if not 0 < value <= highest[name]:
            hint = f"Ask for more than 0 and at most {highest[name]}."
            raise _invalid(f"limits.{name}", f"is {value}", hint)


def _check_input_names(names: list[str]) -> None:
    if len(names) > MAX_INPUTS:
        raise _invalid("input_files", f"are more than {MAX_INPUTS}", "Pack them in one archive.")
    if len(set(names)) != len(names):
        raise _invalid("input_files", "have a name twice", "Give each file its own name.")
    for name in names:
        problem = "is a path" if "/" in name else output_name_problem(name)
        if problem or len(name.encode()) > MAX_NAME_BYTES:
            raise _invalid("input_files", f"{name!r}: {problem or 'too long'}", "Use plain names.")


def _invalid(field: str, problem: str, hint: str) -> AppError:
    return AppError(
        Code.INVALID_INPUT, f"`{field}` {problem}.", hint=hint, details={"field": field}
    )
