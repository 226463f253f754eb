"""One word for the walls that a container runtime gives, by the runtime's name."""


def level_of(runtime: str) -> str:
    """The level of a runtime or handler; one that is not known counts as the least."""
    name = runtime.rpartition("/")[2].removeprefix("io.containerd.")
    if name.startswith(("runsc", "gvisor")):
        return "gvisor"
    return "microvm" if name.startswith("kata") else "container"
