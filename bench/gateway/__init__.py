"""What the MCP gateway costs: `python -m bench.gateway`, measured beside bare proxies and peers."""
