"""The one embedding port, and which of its implementations the settings ask for."""

from collections.abc import Sequence
from typing import Protocol

from app.kernel.settings import Settings
from app.llm.openai import OpenAiEmbedder
from app.llm.wordllama import WordLlamaEmbedder


class Embedder(Protocol):
    """Turns texts into unit vectors. Vectors of two models never compare."""

    @property
    def model(self) -> str:
        """What to note beside each vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text. Raises `embedding_failed` if the model cannot be asked."""
        ...


def make_embedder(settings: Settings) -> Embedder:
    """WordLlama, whose weights lie in its wheel; or a service that speaks OpenAI's API."""
    if settings.embedding_url is None:
        return WordLlamaEmbedder()
    key = settings.embedding_key
    return OpenAiEmbedder(
        settings.embedding_url,
        settings.embedding_model,
        None if key is None else key.get_secret_value(),
    )
