"""Dead letters: what was put aside, and putting it back."""

from app.orchestration.operations.deadletters.service import DeadLetters, bury

__all__ = ["DeadLetters", "bury"]
