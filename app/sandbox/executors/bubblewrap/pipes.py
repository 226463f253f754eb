"""The descriptors that one launcher inherits; closed here once it has them."""

import errno
import fcntl
import os


class Pipes:
    """Descriptors for one child process. `inherited` is what to pass to it."""

    def __init__(self) -> None:
        self.inherited: list[int] = []

    def give(self, data: bytes) -> int:
        """A descriptor from which the child reads `data`, and nothing more."""
        fd = os.memfd_create("sandbox", os.MFD_CLOEXEC)
        self.inherited.append(fd)
        # at a place, so that the child finds itself at the beginning
        written = os.pwrite(fd, data, 0)
        if written < len(data):
            raise OSError(errno.ENOMEM, "there is no memory for a sandbox's files")
        return fd

    def lend(self, fd: int) -> int:
        """The child's end of something; ours no longer."""
        self.inherited.append(fd)
        return fd

    def close(self) -> None:
        """Close the child's ends here."""
        while self.inherited:
            os.close(self.inherited.pop())


class Slate:
    """A little memory for a process to complain on, so that nobody has to listen to it.

    It cannot grow: a process inside the sandbox may come to hold it too.
    """

    _BYTES = 8192

    def __init__(self) -> None:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self.fd = os.memfd_create("complaint", flags)
        os.ftruncate(self.fd, self._BYTES)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)

    def read(self) -> str:
        """What is written on it."""
        return os.pread(self.fd, self._BYTES, 0).rstrip(b"\0").decode(errors="replace")

    def close(self) -> None:
        """Let it go."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
