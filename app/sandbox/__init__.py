"""Sandbox: runs untrusted Python behind real walls, or refuses. It is a leaf and knows no other."""

from app.sandbox.executors import EXECUTORS, make_executors
from app.sandbox.service import Sandbox
from app.sandbox.types import (
    Capabilities,
    Ended,
    Event,
    Executor,
    InputFile,
    IsolationError,
    Limits,
    OutputFile,
    Printed,
    Probe,
    SandboxStatus,
    Shown,
    Status,
    TaskResult,
    TaskSpec,
    Usage,
)

__all__ = [
    "EXECUTORS",
    "Capabilities",
    "Ended",
    "Event",
    "Executor",
    "InputFile",
    "IsolationError",
    "Limits",
    "OutputFile",
    "Printed",
    "Probe",
    "Sandbox",
    "SandboxStatus",
    "Shown",
    "Status",
    "TaskResult",
    "TaskSpec",
    "Usage",
    "make_executors",
]
