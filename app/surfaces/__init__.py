"""The doors: HTTP under `/v1` and MCP under `/mcp`. They translate; no rule of the business is here."""
