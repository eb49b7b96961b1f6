"""Threads of LangGraph's, kept in a collector: what LivespanSaver (frameworks/langgraph_saver.py) is made of. Nothing
here knows LangGraph.

    delta.py          a value as what is new in it against an earlier one
    packed.py         what a record of a thread holds, as bytes
    packing.py        a checkpoint as the state of its record
    stored_value.py   a channel's value, whole or by what it was made from
    thread_state.py   what the records of a thread amount to
    thread_log.py     appending records, and reading what came since
    recent.py         what the newest checkpoints hold, so that the next is stored against it
    aside.py          blocking work for asyncio, in no run's name
"""

from __future__ import annotations

__all__: list[str] = []
