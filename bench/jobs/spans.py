"""What becomes of measured times."""


def percentile(ordered: list[float], share: float) -> float:
    """Nearest rank in an ordered list; 0 for an empty one."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread_ms(seconds: list[float], prefix: str = "") -> dict[str, float]:
    """p50, p95 and p99 of times in seconds, as milliseconds."""
    ordered = sorted(seconds)
    return {
        f"{prefix}p{percent}_ms": round(1e3 * percentile(ordered, percent / 100), 2)
        for percent in (50, 95, 99)
    }
