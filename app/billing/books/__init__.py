"""The books: whether every wallet is the projection of what is written about it."""

from app.billing.books.store import Discrepancy, off_books

__all__ = ["Discrepancy", "off_books"]
