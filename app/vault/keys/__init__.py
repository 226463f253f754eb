"""Where key-encryption keys live: a file, HashiCorp Vault's transit engine, AWS KMS."""

from app.vault.keys.aws import AwsKeys
from app.vault.keys.base import KeyBackend, Wrapped, not_ours
from app.vault.keys.choice import make_keys
from app.vault.keys.hashicorp import HashicorpKeys
from app.vault.keys.local import LocalKeys

__all__ = [
    "AwsKeys",
    "HashicorpKeys",
    "KeyBackend",
    "LocalKeys",
    "Wrapped",
    "make_keys",
    "not_ours",
]
