"""The docker backend: hardened, single-use containers of the sandbox's own image."""

from app.sandbox.executors.docker.backend import DockerBackend, docker_backend

__all__ = ["DockerBackend", "docker_backend"]
