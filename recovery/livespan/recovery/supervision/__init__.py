"""Starting an agent's program, and again after a crash: what `livespan run` and `livespan recover` stand on.

    children.py    programs that this process has started; signals pass through to them
    patience.py    how long to wait before the next start, and when to give up
    verdict.py     what the end of a life means: done, again, or stop and why
    asking.py      asks the collector how the run stands
    supervisor.py  the loop over lives
    restart.py     what is needed to start a recorded command again

Nothing of it is in the agent: an agent that dies takes nothing of this along, and one whose supervisor is killed goes
on by itself.
"""
