"""The doors, HTTP at `/v1` and MCP at `/mcp`. They translate; no rule of business is here."""
