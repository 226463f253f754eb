"""Sandbox: runs untrusted Python behind real walls, or refuses. It is a leaf and knows no other."""

from app.sandbox.executors import EXECUTORS, make_executors
from app.sandbox.layers import LayerLimits, Layers, Sources, open_sources
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
from app.sandbox.volumes import Volume, Volumes, open_volumes

__all__ = [
    "EXECUTORS",
    "Capabilities",
    "Ended",
    "Event",
    "Executor",
    "InputFile",
    "IsolationError",
    "LayerLimits",
    "Layers",
    "Limits",
    "OutputFile",
    "Printed",
    "Probe",
    "Sandbox",
    "SandboxStatus",
    "Shown",
    "Sources",
    "Status",
    "TaskResult",
    "TaskSpec",
    "Usage",
    "Volume",
    "Volumes",
    "make_executors",
    "open_sources",
    "open_volumes",
]
