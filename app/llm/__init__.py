"""Language models: what turns text into vectors. It lies below every module that uses it."""

from app.llm.embeddings import Embedder, make_embedder

__all__ = ["Embedder", "make_embedder"]
