"""Workers that wait: started before their task is known, used for one task, then killed."""

from app.sandbox.pool.kinds import choose, imported, kinds_of
from app.sandbox.pool.service import Pool
from app.sandbox.pool.types import Kind, PoolPlan, Wanted, Worker

__all__ = ["Kind", "Pool", "PoolPlan", "Wanted", "Worker", "choose", "imported", "kinds_of"]
