"""`sandboxd`: the one process that holds the engine's socket, and offers nothing but to run tasks.

Who holds the Docker socket is root on the host. So the server that takes requests does not: it
asks this process, which knows four operations (capabilities, run, stream, cancel), and in which
image, with which mounts, runtime and flags a task is run is not among what can be asked for.
"""

from app.sandbox.daemon.listening import listening, stopped
from app.sandbox.daemon.service import Allowance, Daemon
from app.sandbox.daemon.serving import serve

__all__ = ["Allowance", "Daemon", "listening", "serve", "stopped"]
