"""The fast way in: plain calls of remote tools and lists of tools, without the SDK on either side.

It stands before everything else on the path `/mcp` and takes what it knows to be good, up to the
point where the SDK would call its handler; all else goes on to the SDK untouched.
"""

from app.surfaces.mcp.fastpath.door import Application, FastPath, install

__all__ = ["Application", "FastPath", "install"]
