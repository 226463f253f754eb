"""Sandbox: runs untrusted Python behind real walls, or refuses. It is a leaf and knows no other."""

from app.sandbox.daemon import serve as serve_daemon
from app.sandbox.egress import egress_summary
from app.sandbox.executors import AUTO, EXECUTORS, Options, PooledExecutor, Setup, make_executors
from app.sandbox.layers import LayerLimits, Layers, Sources, open_sources
from app.sandbox.making import Sandboxing, make_sandbox
from app.sandbox.policy import available as installed_science
from app.sandbox.pool import PoolPlan
from app.sandbox.service import Sandbox
from app.sandbox.sessions import SessionPlan
from app.sandbox.types import (
    Capabilities,
    EgressCall,
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
    "AUTO",
    "EXECUTORS",
    "Capabilities",
    "EgressCall",
    "Ended",
    "Event",
    "Executor",
    "InputFile",
    "IsolationError",
    "LayerLimits",
    "Layers",
    "Limits",
    "Options",
    "OutputFile",
    "PoolPlan",
    "PooledExecutor",
    "Printed",
    "Probe",
    "Sandbox",
    "SandboxStatus",
    "Sandboxing",
    "SessionPlan",
    "Setup",
    "Shown",
    "Sources",
    "Status",
    "TaskResult",
    "TaskSpec",
    "Usage",
    "Volume",
    "Volumes",
    "egress_summary",
    "installed_science",
    "make_executors",
    "make_sandbox",
    "open_sources",
    "open_volumes",
    "serve_daemon",
]
