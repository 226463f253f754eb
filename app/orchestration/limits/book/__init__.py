"""The book of limits: numbers that are set, and lines that are looked at."""
