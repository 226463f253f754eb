"""Files: bytes stored by content, rows that say whose they are, links that expire."""
