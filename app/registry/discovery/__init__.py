"""Finds tools by what they do: full text and vectors, ranked together."""

from app.registry.discovery.service import Discovery, Document, Match

__all__ = ["Discovery", "Document", "Match"]
