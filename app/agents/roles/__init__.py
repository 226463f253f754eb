"""The five roles: thin, the same for every task. What they do in a task is its template's."""

from collections.abc import Mapping

from app.agents.roles.base import Driver, StoreFile, Work
from app.agents.roles.coder import code
from app.agents.roles.evaluator import evaluate
from app.agents.roles.planner import plan
from app.agents.roles.reporter import report
from app.agents.roles.retriever import retrieve
from app.agents.types import Role

DRIVERS: Mapping[Role, Driver] = {
    "planner": plan,
    "retriever": retrieve,
    "coder": code,
    "evaluator": evaluate,
    "reporter": report,
}

__all__ = ["DRIVERS", "Driver", "StoreFile", "Work"]
