"""Names of limits: what users write, what is stored, which default applies."""

from uuid import UUID

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.wakeups import Wakeups
from app.orchestration.lifecycle import DUE_TOPIC
from app.orchestration.limits import JobLimits, admission
from app.orchestration.limits.names import default_of, owner_of, read, scope_of, shown

ME = UUID(int=7)
OTHER = UUID(int=8)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("key:invoices", f"key:{ME}:invoices"),
        ("key:*", f"key:{ME}:*"),
        (f"key:{OTHER}:x", f"key:{ME}:{OTHER}:x"),
        ("user:me", f"user:{ME}"),
        (f"user:{OTHER}", f"user:{OTHER}"),
        ("user:*", "user:*"),
        ("tool:sequence.translate", "tool:sequence.translate"),
        ("tool:*", "tool:*"),
    ],
)
def test_what_a_user_writes_is_one_name(text: str, name: str) -> None:
    assert read(text, ME) == name
    assert scope_of(name) == text.partition(":")[0]


def test_nobody_can_name_anothers_key() -> None:
    assert owner_of(read(f"key:{OTHER}:x", ME)) == ME


@pytest.mark.parametrize(
    "text", ["", "key", "key:", "key:a b", "key:" + "x" * 129, "user:nobody", "tool:", "queue:x"]
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(AppError) as caught:
        read(text, ME)
    assert caught.value.code is Code.INVALID_INPUT


def test_each_name_has_the_default_of_its_kind() -> None:
    assert default_of(f"key:{ME}:a:b") == f"key:{ME}:*"
    assert default_of("tool:sequence.translate") == "tool:*"
    assert default_of(f"user:{ME}") == "user:*"
    for default in (f"key:{ME}:*", "tool:*", "user:*"):
        assert default_of(default) is None
    assert shown(f"key:{ME}:a:b") == "key:a:b"
    assert shown("tool:*") == "tool:*"


def test_most_jobs_count_against_nothing() -> None:
    limits = JobLimits(Wakeups(None))
    assert limits.names_for(ME, tool="a.b") == ()
    assert limits.names_for(ME, tool="a.b", key="k") == (f"key:{ME}:k",)


def test_known_limits_and_defaults_apply() -> None:
    limits = JobLimits(Wakeups(None))
    limits._names = frozenset({"user:*", "tool:a.b"})
    assert set(limits.names_for(ME, tool="a.b")) == {f"user:{ME}", "tool:a.b"}
    assert limits.names_for(ME, tool="a.c") == (f"user:{ME}",)
    assert limits.names_for(ME) == (f"user:{ME}",)


def test_admission_wakes_the_stager() -> None:
    assert admission.DUE_TOPIC == DUE_TOPIC
