"""Static embeddings of WordLlama: small, quick, without any network (arXiv 2407.21721's family).

256 dimensions. English; of other scripts it knows single characters.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any


class WordLlamaEmbedder:
    """The default embedder; loads its weights (half a second) when first asked."""

    model = "wordllama-l2-supercat-256"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder.embed`."""
        return await asyncio.to_thread(_embed, list(texts)) if texts else []


def _embed(texts: list[str]) -> list[list[float]]:
    found: list[list[float]] = _loaded().embed(texts, norm=True).tolist()
    return found


@cache
def _loaded() -> Any:
    import wordllama

    # Its own folder has weights and tokenizer; without this it looks for them on the network.
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
