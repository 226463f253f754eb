"""Figures of the sandbox: cold, warm, over MCP, under a burst, and beside others."""
