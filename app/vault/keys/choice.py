"""The back end that the settings name."""

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.vault.keys.aws import AwsKeys
from app.vault.keys.base import KeyBackend
from app.vault.keys.hashicorp import HashicorpKeys
from app.vault.keys.local import LocalKeys


def make_keys(settings: Settings) -> KeyBackend:
    """The configured back end; none is ever taken in another's place. Raises `config_invalid`."""
    match settings.vault_keys:
        case "local":
            return LocalKeys(settings.home.expanduser().resolve() / "secrets" / "vault")
        case "hashicorp":
            return _hashicorp(settings)
        case "aws":
            return AwsKeys(settings.vault_key, region=settings.vault_region)
        case other:
            raise AppError(
                Code.CONFIG_INVALID,
                f"'{other}' is no back end for the keys of secrets.",
                hint="Set UAOL_VAULT_KEYS to local, hashicorp or aws.",
            )


def _hashicorp(settings: Settings) -> HashicorpKeys:
    if settings.vault_address is None or settings.vault_token is None:
        raise AppError(
            Code.CONFIG_INVALID,
            "The back end hashicorp needs an address and a token.",
            hint="Set UAOL_VAULT_ADDRESS and UAOL_VAULT_TOKEN.",
        )
    token = settings.vault_token.get_secret_value()
    return HashicorpKeys(settings.vault_address, token, key=settings.vault_key)
