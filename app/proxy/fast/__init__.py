"""The fast way: calls of tools on remote servers, with what need not be read left as bytes."""

from app.proxy.fast.service import FastCalls
from app.proxy.fast.types import FastResult, Route, Seams

__all__ = ["FastCalls", "FastResult", "Route", "Seams"]
