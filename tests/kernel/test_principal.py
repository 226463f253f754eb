"""Principals: roles, scopes, and what elevation changes."""

from uuid import UUID

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, USER_SCOPES, Principal, Scope

ADA = Principal("user", UUID(int=1), UUID(int=2), frozenset({"jobs"}), UUID(int=3))


def test_roles_follow_the_kind() -> None:
    assert ADA.role == "authenticated"
    assert SERVICE.role == "service_role"


def test_elevation_keeps_who_it_is_for() -> None:
    raised = ADA.elevated()
    assert raised.role == "service_role"
    assert (raised.user_id, raised.project_id, raised.scopes, raised.key_id) == (
        ADA.user_id,
        ADA.project_id,
        ADA.scopes,
        ADA.key_id,
    )
    assert ADA.kind == "user"


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.JOBS])
def test_a_scope_the_key_lacks_is_refused_by_name(scope: Scope) -> None:
    ADA.require(Scope.JOBS)
    with pytest.raises(AppError) as caught:
        ADA.require(scope)
    assert caught.value.code is Code.FORBIDDEN
    assert caught.value.details == {"scope": scope.value}


@pytest.mark.parametrize("scope", list(Scope))
def test_the_operator_and_the_platform_may_all(scope: Scope) -> None:
    Principal("user", UUID(int=1), scopes=frozenset({"admin"})).require(scope)
    SERVICE.require(scope)


def test_users_are_not_operators() -> None:
    assert {*USER_SCOPES, Scope.ADMIN} == set(Scope)
    assert Scope.ADMIN not in USER_SCOPES


def test_the_platform_owns_nothing() -> None:
    assert ADA.owner == UUID(int=1)
    with pytest.raises(AppError) as caught:
        _ = SERVICE.owner
    assert caught.value.code is Code.FORBIDDEN
