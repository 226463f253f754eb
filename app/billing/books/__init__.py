"""The books: whether every wallet is the projection of what is written about it."""

from app.billing.books.store import Discrepancy, holders, off_books, without_wallet

__all__ = ["Discrepancy", "holders", "off_books", "without_wallet"]
