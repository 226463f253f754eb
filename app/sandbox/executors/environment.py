"""The environment of user code; nothing of the host's is in it."""


def task_environment(executor: str, prefix: str = "/usr/local") -> dict[str, str]:
    """Names and values for a sandbox of the executor of this name; `prefix` is its Python's."""
    return {
        "PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": "/task", "TMPDIR": "/tmp",
        "LANG": "C.UTF-8", "TZ": "UTC", "USER": "nobody", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib", "PYTHONDONTWRITEBYTECODE": "1",
        # Same input, same output: order of sets, and sums that do not depend on cores.
        "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "UAOL_SANDBOX": executor, "UAOL_INPUT": "/task/input", "UAOL_OUTPUT": "/task/output",
    }  # fmt: skip
