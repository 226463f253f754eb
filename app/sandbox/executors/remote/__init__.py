"""The executor that asks a `sandboxd`: the process that holds the engine's socket is another."""

from app.sandbox.executors.remote.executor import RemoteExecutor

__all__ = ["RemoteExecutor"]
