"""Takes the system-call filter from within. Standard library only; the runner loads it.

A container engine assembles a filter from names, and passes over those that its library is too
old to know. Taken here it is the same, byte for byte, whatever started the sandbox.
"""

from __future__ import annotations

import sys
from array import array

SET_SECCOMP, FILTER_MODE = 22, 2


def take(program: bytes) -> None:
    """Put this process and all that it forks behind a `struct sock_filter[]`.

    It needs `no_new_privs`, which every launcher sets. Raises OSError where it is refused.
    """
    import _ctypes

    code = array("B", program)
    address, size = code.buffer_info()
    # struct sock_fprog of linux/filter.h: a length of 16 bits, padded, and a pointer
    given = (size // 8).to_bytes(8, sys.byteorder) + address.to_bytes(8, sys.byteorder)
    prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
    if _ctypes.call_function(prctl, (SET_SECCOMP, FILTER_MODE, given, 0, 0)):
        raise OSError("the system-call filter was refused")
