"""Keys in AWS KMS: an alias points to the key in use, and older keys go on to unwrap.

https://docs.aws.amazon.com/kms/latest/APIReference. The binding travels as encryption context,
which KMS authenticates and writes into CloudTrail: it holds ids, no secret.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from app.kernel.errors import AppError, Code
from app.vault.keys.base import Wrapped, not_ours, unavailable

_TIMEOUT_S = 5.0
_HINT = "Check the AWS credentials, the region, and what the key's policy allows."
# What KMS answers to a ciphertext that is not of this key and context.
_FOREIGN = {"InvalidCiphertextException", "IncorrectKeyException", "NotFoundException"}
_UNKNOWN = "NotFoundException"


class AwsKeys:
    """The key behind one alias; it is made at first use."""

    def __init__(self, alias: str = "alias/uaol", *, region: str | None = None) -> None:
        """Raises `config_invalid` without the extra `aws` or without a region."""
        self._alias = alias if alias.startswith("alias/") else f"alias/{alias}"
        self._kms = _client(region)

    async def current(self) -> str:
        """The ARN of the key behind the alias."""
        return f"aws:{await asyncio.to_thread(self._arn)}"

    async def wrap(self, data_key: bytes, binding: bytes) -> Wrapped:
        """Encrypt with the key behind the alias."""
        arn = await asyncio.to_thread(self._arn)
        answer = await asyncio.to_thread(
            self._ask,
            lambda: self._kms.encrypt(
                KeyId=arn, Plaintext=data_key, EncryptionContext=_context(binding)
            ),
        )
        return Wrapped(f"aws:{answer['KeyId']}", answer["CiphertextBlob"])

    async def unwrap(self, kek_id: str, blob: bytes, binding: bytes) -> bytes:
        """Decrypt with the key of that id."""
        arn = kek_id.removeprefix("aws:")
        if not blob:
            raise not_ours()
        answer = await asyncio.to_thread(
            self._ask,
            lambda: self._kms.decrypt(
                KeyId=arn, CiphertextBlob=blob, EncryptionContext=_context(binding)
            ),
            is_opening=True,
        )
        return bytes(answer["Plaintext"])

    async def rotate(self) -> str:
        """Make a new key and point the alias to it."""
        return f"aws:{await asyncio.to_thread(self._renew)}"

    def _arn(self) -> str:
        try:
            answer = self._kms.describe_key(KeyId=self._alias)
        except Exception as error:
            if _code(error) != _UNKNOWN:
                raise self._fault(error, is_opening=False) from error
            return self._make()
        return str(answer["KeyMetadata"]["Arn"])

    def _make(self) -> str:
        made = self._new_key()
        self._ask(lambda: self._kms.create_alias(AliasName=self._alias, TargetKeyId=made))
        return made

    def _renew(self) -> str:
        self._arn()
        made = self._new_key()
        self._ask(lambda: self._kms.update_alias(AliasName=self._alias, TargetKeyId=made))
        return made

    def _new_key(self) -> str:
        tags = [{"TagKey": "uaol", "TagValue": self._alias.removeprefix("alias/")}]
        answer = self._ask(lambda: self._kms.create_key(Description="UAOL secrets", Tags=tags))
        return str(answer["KeyMetadata"]["Arn"])

    def _ask(self, call: Callable[[], Any], *, is_opening: bool = False) -> Any:
        try:
            return call()
        except Exception as error:
            raise self._fault(error, is_opening=is_opening) from error

    def _fault(self, error: Exception, *, is_opening: bool) -> AppError:
        from botocore.exceptions import BotoCoreError, ClientError

        if not isinstance(error, BotoCoreError | ClientError):
            raise error
        code = _code(error)
        if is_opening and code in _FOREIGN:
            return not_ours()
        return unavailable("aws", f"give no answer ({code or type(error).__name__})", _HINT)


def _client(region: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise AppError(
            Code.CONFIG_INVALID,
            "The back end aws needs a package that is not installed.",
            hint="Run `pip install 'uaol[aws]'`.",
        ) from error
    waits = Config(
        connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 2}
    )
    try:
        return boto3.client("kms", region_name=region, config=waits)
    except (BotoCoreError, ValueError) as error:
        raise AppError(
            Code.CONFIG_INVALID,
            f"AWS KMS cannot be used as it is configured: {error}",
            hint="Set AWS_REGION or UAOL_VAULT_REGION, and credentials as boto3 finds them.",
        ) from error


def _code(error: Exception) -> str:
    """KMS's own name of the error; empty for one that did not come from there."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _context(binding: bytes) -> dict[str, str]:
    return {"uaol": binding.hex()}
