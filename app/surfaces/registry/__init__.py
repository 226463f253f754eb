"""The registry of servers as every door shows it."""

from app.surfaces.registry.operations import Registering

__all__ = ["Registering"]
