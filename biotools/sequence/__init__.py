"""Sequence records and their elementary properties."""
