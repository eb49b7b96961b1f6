"""The work that both agents do: an order is looked up, its stock checked, its card charged; wired twice.

model ─▶ look_up_order ┐ at once ─▶ model ─▶ charge_card ─▶ model ─▶ "order-17 is paid: ..."
         check_stock   ┘
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import livespan.instrumentation as ls
from livespan.instrumentation.decorators import InDoubtSetting
from livespan.replay.demo.job import Job, Policy
from livespan.replay.demo.points import Point, Points
from livespan.replay.testing.ledger import Charge, charge, find

__all__ = ["QUESTION", "Charging", "Json", "charging", "check_stock", "in_doubt", "look_up_order"]

QUESTION = "Please handle order-17."
Json: TypeAlias = dict[str, Any]
Charging: TypeAlias = Callable[[int], Charge]


def look_up_order(order_id: str) -> Json:
    """Return what was ordered."""
    return {"order_id": order_id, "item": "lamp", "cents": 4200}


def check_stock(order_id: str) -> Json:
    """Return whether it is in stock."""
    return {"order_id": order_id, "in_stock": True}


def charging(job: Job, points: Points) -> Charging:
    """Return charge_card's body: it asks the provider, which is a ledger file, under the call's idempotency key."""

    def charge_card(cents: int) -> Charge:
        """Charge the customer's card."""
        return charge(
            job.ledger,
            cents,
            ls.idempotency_key(),
            honours_keys=job.honours_keys,
            after=lambda: points.reach(Point.INSIDE),
        )

    return charge_card


def in_doubt(job: Job) -> InDoubtSetting:
    """Return the job's policy as an agent writes it."""

    def look_in_the_ledger(key: str, *_args: object, **_arguments: object) -> object:
        found = find(job.ledger, key)
        return ls.NOT_DONE if found is None else found

    match job.policy:
        case Policy.FAIL:
            return "fail"
        case Policy.RETRY:
            return "retry"
        case Policy.PROBE:
            return look_in_the_ledger
