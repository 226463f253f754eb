"""The process from its settings to its end."""

from collections.abc import Callable

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.sandbox.daemon.listening import listening, stopped
from app.sandbox.daemon.service import Daemon
from app.sandbox.making import make_sandbox
from app.sandbox.wire import parse_address, token_of


async def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Test the sandbox, then serve at UAOL_SANDBOX_DAEMON until a signal; `tell` says where.

    Raises AppError: CONFIG_INVALID, SANDBOX_UNAVAILABLE.
    """
    if settings.sandbox_daemon is None:
        raise AppError(
            Code.CONFIG_INVALID,
            "sandboxd has no address.",
            hint="Set UAOL_SANDBOX_DAEMON, such as unix:/run/uaol/sandboxd.sock.",
        )
    address = parse_address(settings.sandbox_daemon)
    token = token_of(settings.sandbox_daemon_token_file)
    if address.path is None and token() is None:
        raise AppError(
            Code.CONFIG_INVALID,
            "sandboxd listens on no port without a token.",
            hint="Set UAOL_SANDBOX_DAEMON_TOKEN_FILE, or use a Unix socket.",
        )
    sandbox = make_sandbox(settings, is_daemon=True).sandbox
    try:
        status = await sandbox.start()
        if not status.available:
            reason = f"Code cannot be isolated on this machine: {status.reason}"
            raise AppError(Code.SANDBOX_UNAVAILABLE, reason, hint=status.hint)
        async with listening(Daemon(sandbox, token), address) as place:
            tell(f"Serving {status.executor} at {place}")
            await stopped()
    finally:
        await sandbox.close()
