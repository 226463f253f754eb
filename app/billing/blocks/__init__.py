"""Leased credits: calls are paid in memory and written together."""

from app.billing.blocks.service import Blocks, Promise
from app.billing.blocks.types import Terms

__all__ = ["Blocks", "Promise", "Terms"]
