"""Sandbox: runs untrusted Python behind real walls, or refuses. It is a leaf and knows no other."""

from app.sandbox.executors import EXECUTORS, make_executors
from app.sandbox.service import Sandbox
from app.sandbox.types import (
    Capabilities,
    Executor,
    InputFile,
    IsolationError,
    Limits,
    OutputFile,
    Probe,
    SandboxStatus,
    Status,
    TaskResult,
    TaskSpec,
    Usage,
)

__all__ = [
    "EXECUTORS",
    "Capabilities",
    "Executor",
    "InputFile",
    "IsolationError",
    "Limits",
    "OutputFile",
    "Probe",
    "Sandbox",
    "SandboxStatus",
    "Status",
    "TaskResult",
    "TaskSpec",
    "Usage",
    "make_executors",
]
