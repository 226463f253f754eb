"""UAOL: tools, workflows and multi-agent tasks over MCP, each run priced, metered and checked."""

__version__ = "0.1.0"
