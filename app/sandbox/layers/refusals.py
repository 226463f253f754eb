"""The errors of layers, each with what to do next."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from app.kernel.errors import AppError, Code
from app.sandbox.layers.requirements import Wanted
from app.sandbox.layers.sources import Sources
from app.sandbox.policy import available

_SHOWN = 100
# Modules that people ask for in place of the packages that have them.
_PACKAGES = {
    "bio": "biopython", "cv2": "opencv-python-headless", "pil": "pillow",
    "skbio": "scikit-bio", "skimage": "scikit-image", "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}  # fmt: skip


def unknown(
    missing: Sequence[Wanted], installed: Mapping[str, str], sources: Sources, why: str = ""
) -> AppError:
    """What is asked for is neither installed nor to be had; lists what there is."""
    names = [wanted.line for wanted in missing]
    there, wheels = available(installed), sources.names()
    details: dict[str, Any] = {"missing": names, "available": there}
    hint = f"{_mistaken(missing)}Installed: {', '.join(there) or 'nothing for science'}."
    if sources.wheelhouse is not None:
        details["wheelhouse"] = wheels[:_SHOWN]
        hint += f" In the wheelhouse: {', '.join(wheels[:_SHOWN]) or 'nothing'}."
    elif not sources.index:
        hint += " Nothing else can be installed here."
    if why:
        details["why"] = why
    message = f"Not installed in the sandbox, and not to be had: {', '.join(names)}."
    return AppError(Code.SANDBOX_REQUIREMENT_UNKNOWN, message, hint=hint, details=details)


def _mistaken(missing: Sequence[Wanted]) -> str:
    """Sentences for names of modules, where a package's was meant."""
    said = ""
    for name in (wanted.name for wanted in missing):
        if name.replace("-", "_") in sys.stdlib_module_names:
            said += f"{name} is part of Python: leave it out. "
        elif package := _PACKAGES.get(name):
            said += f"{name} is a module of {package}: ask for that. "
    return said


def masked(wanted: Wanted, version: str) -> AppError:
    """Another version is installed, which would be imported instead of the layer's."""
    return AppError(
        Code.SANDBOX_REQUIREMENT_UNKNOWN,
        f"The sandbox has {wanted.name} {version}, so {wanted.line} cannot be had beside it.",
        hint=f"Ask for {wanted.name} without a version, or for one that {version} satisfies.",
        details={"missing": [wanted.line], "available": [f"{wanted.name}=={version}"]},
    )


def refused(what: str, why: str) -> AppError:
    """A package was found, but it is none that can be installed."""
    return AppError(
        Code.SANDBOX_REQUIREMENT_REFUSED,
        f"{what} cannot be installed: {why}.",
        hint="Ask for another version of it, or have the operator replace the file.",
        details={"package": what},
    )


def failed(why: str) -> AppError:
    """It may work the next time."""
    return AppError(
        Code.SANDBOX_FAILED,
        f"The required packages could not be prepared: {why}.",
        hint="Try again; if it stays, the server's log says more.",
    )


def unfinished() -> AppError:
    """It goes on without the one who asked."""
    return AppError(
        Code.SANDBOX_FAILED,
        "The required packages are still being prepared.",
        hint="Call again shortly: they go on being prepared meanwhile.",
    )
