"""The one place that constructs modules, registers handlers and reactions, and starts them."""

from app.wiring.building import build
from app.wiring.catalogue import catalogue
from app.wiring.hub import HubAddress, open_hub, require_current
from app.wiring.lifetime import opened, running
from app.wiring.upkeep import reactions

__all__ = [
    "HubAddress",
    "build",
    "catalogue",
    "open_hub",
    "opened",
    "reactions",
    "require_current",
    "running",
]
