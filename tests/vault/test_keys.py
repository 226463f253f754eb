"""One suite over every back end of keys; the faults of each are its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.vault import AwsKeys, HashicorpKeys, KeyBackend, LocalKeys, make_keys
from tests.vault.transit import FAULTS, TOKEN, Transit, serving

pytestmark = pytest.mark.anyio

DATA_KEY, BINDING = bytes(range(32)), b"tenant secret version"


@pytest.fixture
def transit() -> Iterator[Transit]:
    with serving(Transit()) as running:
        yield running


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsKeys]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield AwsKeys("alias/uaol", region="eu-central-1")


@pytest.fixture(params=["local", "hashicorp", "aws"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> KeyBackend:
    match request.param:
        case "local":
            return LocalKeys(tmp_path / "keys")
        case "hashicorp":
            return HashicorpKeys(request.getfixturevalue("transit").url, TOKEN, timeout_s=60)
    backend: KeyBackend = request.getfixturevalue("aws")
    return backend


async def test_what_is_wrapped_is_unwrapped(keys: KeyBackend) -> None:
    wrapped = await keys.wrap(DATA_KEY, BINDING)
    assert wrapped.kek_id == await keys.current()
    assert DATA_KEY not in wrapped.blob
    assert await keys.unwrap(wrapped.kek_id, wrapped.blob, BINDING) == DATA_KEY


async def test_each_wrapping_is_another(keys: KeyBackend) -> None:
    first, second = await keys.wrap(DATA_KEY, BINDING), await keys.wrap(DATA_KEY, BINDING)
    assert first.kek_id == second.kek_id
    assert first.blob != second.blob


async def test_after_a_rotation_new_keys_wrap_and_old_ones_unwrap(keys: KeyBackend) -> None:
    before = await keys.wrap(DATA_KEY, BINDING)
    fresh = await keys.rotate()
    after = await keys.wrap(DATA_KEY, BINDING)
    assert fresh == after.kek_id == await keys.current()
    assert before.kek_id != after.kek_id
    for wrapped in (before, after):
        assert await keys.unwrap(wrapped.kek_id, wrapped.blob, BINDING) == DATA_KEY


async def unreadable(keys: KeyBackend, kek_id: str, blob: bytes, binding: bytes) -> None:
    with pytest.raises(AppError) as caught:
        await keys.unwrap(kek_id, blob, binding)
    # KMS tells a key that is another from one that is not allowed by its own lights.
    is_denied = isinstance(keys, AwsKeys) and "AccessDenied" in caught.value.message
    assert is_denied or caught.value.code is Code.SECRET_UNREADABLE


async def test_another_binding_key_or_blob_opens_nothing(keys: KeyBackend) -> None:
    old = await keys.wrap(DATA_KEY, BINDING)
    await keys.rotate()
    new = await keys.wrap(DATA_KEY, BINDING)
    await unreadable(keys, new.kek_id, new.blob, b"another tenant")
    await unreadable(keys, new.kek_id, old.blob, BINDING)
    await unreadable(keys, "no such key", new.blob, BINDING)
    flipped = new.blob[:-2] + bytes([new.blob[-2] ^ 1]) + new.blob[-1:]
    await unreadable(keys, new.kek_id, flipped, BINDING)
    await unreadable(keys, new.kek_id, b"", BINDING)


async def test_a_process_finds_the_key_that_another_made(tmp_path: Path) -> None:
    here, there = LocalKeys(tmp_path), LocalKeys(tmp_path)
    first = await here.wrap(DATA_KEY, BINDING)
    await there.rotate()
    second = await there.wrap(DATA_KEY, BINDING)
    assert await here.unwrap(second.kek_id, second.blob, BINDING) == DATA_KEY
    assert await there.unwrap(first.kek_id, first.blob, BINDING) == DATA_KEY
    assert await here.current() == second.kek_id


async def test_local_keys_are_their_owners_alone(tmp_path: Path) -> None:
    keys = LocalKeys(tmp_path / "vault")
    await keys.current()
    (file,) = (tmp_path / "vault").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert (tmp_path / "vault").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("fault", [*FAULTS, "reset"])
async def test_a_vault_that_fails_is_unavailable_and_never_replaced(
    transit: Transit, fault: str
) -> None:
    keys = HashicorpKeys(transit.url, TOKEN, timeout_s=60)
    wrapped = await keys.wrap(DATA_KEY, BINDING)
    transit.fault = fault
    for step in (
        keys.wrap(DATA_KEY, BINDING),
        keys.unwrap(wrapped.kek_id, wrapped.blob, BINDING),
        keys.current(),
        keys.rotate(),
    ):
        if fault == "not base64" and step.__name__ in ("wrap", "current", "rotate"):
            step.close()
            continue
        with pytest.raises(AppError) as caught:
            await step
        assert caught.value.code is Code.KEYS_UNAVAILABLE
        assert TOKEN not in str(caught.value.as_dict())
    transit.fault = None
    assert await keys.unwrap(wrapped.kek_id, wrapped.blob, BINDING) == DATA_KEY


async def test_a_vault_that_is_not_there_is_unavailable(transit: Transit) -> None:
    keys = HashicorpKeys("http://127.0.0.1:1", TOKEN, timeout_s=1)
    with pytest.raises(AppError) as caught:
        await keys.wrap(DATA_KEY, BINDING)
    assert caught.value.code is Code.KEYS_UNAVAILABLE
    wrong = HashicorpKeys(transit.url, "hvs.another", timeout_s=60)
    with pytest.raises(AppError) as refused:
        await wrong.wrap(DATA_KEY, BINDING)
    assert refused.value.code is Code.KEYS_UNAVAILABLE


@pytest.mark.parametrize(
    "word",
    ["DisabledException", "KMSInternalException", "ThrottlingException", "AccessDeniedException"],
)
async def test_kms_that_refuses_is_unavailable(aws: AwsKeys, word: str) -> None:
    wrapped = await aws.wrap(DATA_KEY, BINDING)
    with Stubber(aws._kms) as refusing:
        refusing.add_client_error("describe_key", word)
        refusing.add_client_error("decrypt", word)
        for step in (
            aws.wrap(DATA_KEY, BINDING),
            aws.unwrap(wrapped.kek_id, wrapped.blob, BINDING),
        ):
            with pytest.raises(AppError) as caught:
                await step
            assert caught.value.code is Code.KEYS_UNAVAILABLE
            assert word in caught.value.message


async def test_kms_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(AppError) as caught:
        await AwsKeys(region="eu-central-1").wrap(DATA_KEY, BINDING)
    assert caught.value.code is Code.KEYS_UNAVAILABLE


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"vault_keys": "none"}, "UAOL_VAULT_KEYS"),
        ({"vault_keys": "hashicorp"}, "UAOL_VAULT_ADDRESS"),
        ({"vault_keys": "hashicorp", "vault_address": "http://127.0.0.1:1"}, "UAOL_VAULT_TOKEN"),
    ],
)
def test_a_back_end_that_is_not_configured_is_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(AppError) as caught:
        make_keys(Settings.model_validate(given))
    assert caught.value.code is Code.CONFIG_INVALID
    assert named in str(caught.value.hint)


def test_aws_without_a_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(AppError) as caught:
        AwsKeys("alias/uaol")
    assert caught.value.code is Code.CONFIG_INVALID
