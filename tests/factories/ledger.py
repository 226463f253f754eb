"""Wallets, what moves credits, and what is priced."""

from uuid import UUID, uuid4

from app.billing.blocks.tables import CallChargeRow
from app.billing.tables import (
    HoldRow,
    PricingPlanRow,
    SettlementRow,
    TransferRow,
    UsageEventRow,
    WalletRow,
)
from app.billing.usage.tables import JobHoldRow, UsageAccountRow, UsageRateRow
from tests.factories.kind import Factory, Row, Values


def _wallet(user_id: UUID) -> Values:
    return {"user_id": user_id, "available_micro": 5_000_000, "granted_micro": 5_000_000}


def _hold(user_id: UUID) -> Values:
    return {"hold_id": uuid4(), "user_id": user_id, "amount_micro": 2_000_000}


def _settlement(user_id: UUID) -> Values:
    return {
        "hold_id": uuid4(),
        "user_id": user_id,
        "kind": "captured",
        "captured_micro": 2_000_000,
        "released_micro": 0,
    }


def _call_charge(user_id: UUID) -> Values:
    return {"call_id": uuid4(), "hold_id": uuid4(), "user_id": user_id, "amount_micro": 10_000}


def _transfer(user_id: UUID) -> Values:
    return {
        "transfer_id": uuid4(),
        "user_id": user_id,
        "debit": "platform",
        "credit": f"wallet:{user_id}",
        "amount_micro": 5_000_000,
        "cause_type": "grant",
        "cause_id": str(uuid4()),
    }


def _pricing_plan(_user_id: UUID) -> Values:
    return {
        "plan_id": uuid4(),
        "kind": "template",
        "name": f"task_{uuid4().hex}",
        "version": 1,
        "amount_micro": 2_000_000,
    }


def _usage_rate(_user_id: UUID) -> Values:
    return {
        "kind": "tool",
        "subject": "sequence.translate",
        "unit": "calls",
        "per_units": 1,
        "amount_micro": 10_000,
    }


def _usage_account(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "user_id": user_id,
        "rates": [],
        "cap_micro": 4_000_000,
        "first_micro": 2_000_000,
        "held_micro": 2_000_000,
    }


def _job_hold(user_id: UUID) -> Values:
    return {"hold_id": uuid4(), "job_id": uuid4(), "user_id": user_id}


def _usage_event(user_id: UUID) -> Values:
    return {
        "usage_id": uuid4(),
        "user_id": user_id,
        "job_id": uuid4(),
        "key": "1",
        "kind": "tool",
        "subject": "sequence.translate",
    }


FACTORIES: dict[Row, Factory] = {
    HoldRow: _hold,
    JobHoldRow: _job_hold,
    PricingPlanRow: _pricing_plan,
    SettlementRow: _settlement,
    CallChargeRow: _call_charge,
    TransferRow: _transfer,
    UsageAccountRow: _usage_account,
    UsageEventRow: _usage_event,
    UsageRateRow: _usage_rate,
    WalletRow: _wallet,
}
