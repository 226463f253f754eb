"""What a task may ask for, decided before anything starts: names and limits. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict

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
