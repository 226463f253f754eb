"""`python -m app.sandbox.daemon`: serve the sandbox until told to end."""

import asyncio
import sys

from app.kernel.errors import AppError
from app.kernel.settings import load_settings
from app.kernel.telemetry import configure_logging
from app.sandbox.daemon.serving import serve


def main() -> None:
    """Exit codes: 0 told to end, 3 it could not start."""
    settings = load_settings()
    configure_logging(settings.log_level)
    try:
        asyncio.run(serve(settings, lambda text: print(text, flush=True)))  # noqa: T201
    except AppError as error:
        sys.stderr.write(f"sandboxd: {error.message} {error.hint or ''}\n")
        sys.exit(3)


if __name__ == "__main__":
    main()
