"""Rule Set 3, sequence model (DeWeirdt et al. 2022, 10.1038/s41467-022-33024-2).

The model file comes with the `rs3` wheel, which need not be importable: the file is found, its
checksum compared with the published one (it is a pickle, so nothing else is ever loaded), and the
booster inside is asked directly. Features come from sglearn.
"""

import hashlib
import os
import threading
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

Tracr = Literal["Hsu2013", "Chen2013"]
TRACRS: tuple[Tracr, ...] = ("Hsu2013", "Chen2013")
LENGTH = 30
VERSION = "0.0.18"
_SHA256 = "88e75f7cb7d17ecc636c71e279b31d4fc2314d85cee59a8d7d2d0301373b0b1e"
_NEEDED = ("joblib", "lightgbm", "pandas", "sglearn", "sklearn")
_lock = threading.Lock()


class ModelMissingError(Exception):
    """The model cannot be used here; the text says why."""


def rule_set_3(contexts: Sequence[str], tracr: Tracr) -> list[float]:
    """Scores (z-score-like, higher is better) of 30-mers: 4 nt, 20 nt protospacer, NGG, 3 nt."""
    with _lock:
        booster = _booster()
    if not contexts:
        return []
    # sglearn draws a progress bar; the variable is read when tqdm is first imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    import sglearn

    features = sglearn.featurize_guides(list(contexts), n_jobs=1)
    for name in TRACRS:
        features[f"{name} tracr"] = int(name == tracr)
    # One thread: the same bits on every machine, and no contention with other calls.
    return [float(score) for score in booster.predict(features.to_numpy(), num_threads=1)]


@cache
def _booster() -> Any:
    path = model_path()
    import joblib

    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise ModelMissingError("RuleSet3.pkl is not the file published with rs3 " + VERSION)
    # The scikit-learn wrapper's own predict fails with current releases; its booster does not.
    return vars(joblib.load(path))["_Booster"]


def model_path() -> Path:
    """Where the model lies. Raises `ModelMissingError`."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModelMissingError(f"these packages are not installed: {', '.join(missing)}")
    try:
        path = Path(str(distribution("rs3").locate_file("rs3/RuleSet3.pkl")))
    except PackageNotFoundError as error:
        raise ModelMissingError("the package rs3, which brings the model, is missing") from error
    if not path.is_file():
        raise ModelMissingError("the installed rs3 does not hold RuleSet3.pkl")
    return path
