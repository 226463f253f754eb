"""What a layer may take, and how much of them is kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerLimits:
    """Sizes are bytes, times are seconds.

    `wheel_bytes` is one wheel unpacked, its byte code included; that much of it is held in memory
    while it is built. `files` are a layer's files and folders together. `kept` and `kept_bytes`
    bound the shelf; a layer in use is never evicted. A task waits `patience_s` for its packages:
    less than what a call has beyond its code's own time, which would else be cut off uncharged.
    """

    wheels: int = 100
    wheel_bytes: int = 512 * 2**20
    layer_bytes: int = 2**30
    files: int = 50_000
    build_s: float = 600.0
    resolve_s: float = 120.0
    patience_s: float = 20.0
    kept: int = 50
    kept_bytes: int = 10 * 2**30
    kept_s: float = 30 * 86_400.0
    index_lock_s: float = 86_400.0
