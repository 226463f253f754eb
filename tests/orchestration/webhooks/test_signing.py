"""Signatures and secrets."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from app.kernel.crypto import key_id, seal, unseal
from app.kernel.errors import AppError, Code
from app.orchestration.webhooks import signing
from tests.orchestration.webhooks.receiver import signature_of

# The example of the specification's reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_example_of_the_specification() -> None:
    secret = base64.b64decode(SECRET.removeprefix("whsec_"))
    assert signing.signature(secret, ID, TIMESTAMP, BODY) == SIGNATURE
    assert f"v1,{signature_of(SECRET, ID, str(TIMESTAMP), BODY)}" == SIGNATURE


def test_two_secrets_sign_apart() -> None:
    first, second = signing.new_secret(), signing.new_secret()
    sent = signing.headers([first, second], ID, TIMESTAMP, BODY)
    assert (sent["webhook-id"], sent["webhook-timestamp"]) == (ID, str(TIMESTAMP))
    one, two = sent["webhook-signature"].split(" ")
    assert one == signing.signature(first, ID, TIMESTAMP, BODY)
    assert two == signing.signature(second, ID, TIMESTAMP, BODY)
    assert one != two


def test_a_secret_has_256_bits_and_a_prefix() -> None:
    secret = signing.new_secret()
    assert len(secret) == 32
    assert base64.b64decode(signing.shown(secret).removeprefix("whsec_")) == secret


@pytest.mark.parametrize("fault", ["key", "context", "bytes", "short"])
def test_a_sealed_secret_opens_with_its_key_and_context_only(fault: str) -> None:
    key, other = b"a" * 32, b"b" * 32
    sealed = seal(key, b"secret", b"webhook 1")
    assert b"secret" not in sealed
    assert seal(key, b"secret", b"webhook 1") != sealed
    assert unseal(key, sealed, b"webhook 1") == b"secret"
    used = other if fault == "key" else key
    context = b"webhook 2" if fault == "context" else b"webhook 1"
    changed = {"bytes": sealed[:-1] + b"\0", "short": sealed[:5]}.get(fault, sealed)
    with pytest.raises(AppError) as caught:
        unseal(used, changed, context)
    assert caught.value.code is Code.CONFIG_INVALID
    assert key_id(key) != key_id(other)


def test_the_documented_example_verifies_what_is_sent() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/webhooks.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(example, names)
    secret, other, now = signing.new_secret(), signing.new_secret(), int(time.time())
    sent = dict(signing.headers([other, secret], ID, now, BODY))
    verify = names["verify"]
    assert verify(signing.shown(secret), sent, BODY)
    assert not verify(signing.shown(secret), sent, BODY + b" ")
    assert not verify(signing.shown(signing.new_secret()), sent, BODY)
    old = dict(signing.headers([secret], ID, now - 301, BODY))
    assert not verify(signing.shown(secret), old, BODY)
