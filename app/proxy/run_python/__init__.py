"""The tool `sandbox.run_python`: untrusted code behind the sandbox's walls."""

from app.proxy.run_python.answers import egress_of, isolation_of
from app.proxy.run_python.tool import python_tool, sandbox_tool

__all__ = ["egress_of", "isolation_of", "python_tool", "sandbox_tool"]
