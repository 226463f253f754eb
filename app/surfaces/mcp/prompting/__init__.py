"""Task templates as prompts, and the words that complete their arguments."""

from app.surfaces.mcp.prompting.completion import Completions
from app.surfaces.mcp.prompting.prompts import Prompts

__all__ = ["Completions", "Prompts"]
