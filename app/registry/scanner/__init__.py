"""The scanner: what in a tool's definition is meant for a model and hidden from people."""

from app.registry.scanner.names import skeleton
from app.registry.scanner.service import RULES, Scanner

__all__ = ["RULES", "Scanner", "skeleton"]
