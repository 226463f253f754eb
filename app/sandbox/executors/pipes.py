"""The descriptors one task's process inherits, and their host ends; all closed with it."""

import os


class Pipes:
    """Descriptors for one child process. `inherited` is what to pass to it."""

    def __init__(self) -> None:
        self.inherited: list[int] = []
        self._held: set[int] = set()

    def give(self, data: bytes) -> int:
        """A descriptor from which the child reads `data`, and nothing more."""
        fd = os.memfd_create("sandbox", os.MFD_CLOEXEC)
        self.inherited.append(fd)
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def to_child(self) -> tuple[int, int]:
        """A pipe to the child: its end, the host's end."""
        reader, writer = os.pipe()
        self.inherited.append(reader)
        self._held.add(writer)
        return reader, writer

    def from_child(self) -> tuple[int, int]:
        """A pipe from the child: its end, the host's end."""
        reader, writer = os.pipe()
        self.inherited.append(writer)
        self._held.add(reader)
        return writer, reader

    def release(self, fd: int) -> int:
        """Hand a host end over: its new owner closes it."""
        self._held.discard(fd)
        return fd

    def close_inherited(self) -> None:
        """Close the child's ends here, once it has them."""
        while self.inherited:
            os.close(self.inherited.pop())

    def close(self) -> None:
        """Close everything that is still ours."""
        self.close_inherited()
        while self._held:
            os.close(self._held.pop())
