"""What Livespan costs, measured: `python -m benchmarks` (or `make bench`) runs everything side by side and writes
results/.

    __main__ ─▶ one worker process per group ─▶ figures ─▶ results/latest.json, results/latest.md

    groups.py        which groups there are, and how long each may take
    agent_thread.py  what a step and a checkpoint cost the agent, beside the SDK and what others do
    intend.py        what asking before an effect costs, over a bare fdatasync
    acknowledged.py  how long a record takes to be safe from the machine's death
    sustained.py     how many nodes a second go all the way
    opening.py       how long a long run takes to be opened again
    starting.py      the first run, the next one, and the import

Everything goes through the public interface, with a real collector and a real drain as processes of their own. A
bench is no test: a floor that is missed is said, and the exit code stays 0.
"""
