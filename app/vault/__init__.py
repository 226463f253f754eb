"""The vault: secrets of users, projects and developers, sealed one by one; keys kept elsewhere."""

from app.vault.keeper import SecretKeeper
from app.vault.keys import AwsKeys, HashicorpKeys, KeyBackend, LocalKeys, make_keys
from app.vault.service import Vault, changes_of
from app.vault.types import Scope, Sealed, Secret, SecretInfo, SecretRef, Slot
from app.vault.values import check_name, check_value

__all__ = [
    "AwsKeys",
    "HashicorpKeys",
    "KeyBackend",
    "LocalKeys",
    "Scope",
    "Sealed",
    "Secret",
    "SecretInfo",
    "SecretKeeper",
    "SecretRef",
    "Slot",
    "Vault",
    "changes_of",
    "check_name",
    "check_value",
    "make_keys",
]
