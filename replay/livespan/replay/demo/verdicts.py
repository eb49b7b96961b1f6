"""Whether a scenario kept its promises, by what the provider's ledger and the model's server counted. Pure."""

from __future__ import annotations

import msgspec

from livespan.replay.demo.plays import Tale
from livespan.replay.demo.scenarios import Doubt, Scenario
from livespan.replay.testing.ledger import Ledger

__all__ = ["Verdict", "judge"]


class Verdict(msgspec.Struct, frozen=True):
    """One scenario's result: an element of `scenarios` in `livespan demo -o json`. Fields are only added.

    Attributes:
        crash_at: never, answer, before, inside, after.
        charges, charge_tries: what the ledger holds: how often money was taken, how often the provider was asked.
        llm_calls_live: answers that the model's server sent whole.
        llm_calls_ideal: those of an undisturbed run, and one for each that was sent whole and not spooled yet when the
            agent was killed; null: not known.
        in_doubt: whether some life stopped in doubt.
        recover_ms: from the start of the process that finished the run to its end; 0: nothing was disturbed; null: no
            process finished it.
        broken: what went wrong, in words.
        happened: the tale, in words.
    """

    scenario: str
    run_id: str
    agent: str
    crash_at: str
    policy: str
    charges: int
    charge_tries: int
    llm_calls_live: int
    llm_calls_ideal: int | None
    in_doubt: bool
    recovered: bool
    recover_ms: float | None
    ok: bool
    title: str
    happened: list[str]
    broken: list[str]


def judge(scenario: Scenario, run_id: str, tale: Tale, ledger: Ledger, live: int, undisturbed: int | None) -> Verdict:
    """Return the verdict.

    Args:
        live: answers that the model sent in this scenario.
        undisturbed: answers that it sent in the same agent's undisturbed run, if known.
    """
    broken = list(tale.broken)
    charges, tries = len(ledger.charges), len(ledger.tries)
    ideal = None if undisturbed is None else undisturbed + scenario.lost_answers
    if charges != 1:
        broken.append(f"the card was charged {charges} times, not once")
    elif tries != scenario.charge_tries:
        broken.append(f"the provider was asked {tries} times to charge, not {scenario.charge_tries}")
    if ideal is None:
        broken.append("there is no undisturbed run to compare with")
    elif live != ideal:
        broken.append(f"the model was paid for {live} answers, not {ideal}")
    if scenario.doubt is not Doubt.NONE and not tale.in_doubt:
        broken.append("the charge was not said to be in doubt")
    return Verdict(
        scenario=scenario.name,
        run_id=run_id,
        agent=scenario.agent.value,
        crash_at=scenario.crash_at,
        policy=scenario.policy.value,
        charges=charges,
        charge_tries=tries,
        llm_calls_live=live,
        llm_calls_ideal=ideal,
        in_doubt=tale.in_doubt,
        recovered=tale.recovered,
        recover_ms=None if tale.recover_ms is None else round(tale.recover_ms, 1),
        ok=not broken and tale.recovered,
        title=scenario.title,
        happened=list(tale.lines),
        broken=broken,
    )
