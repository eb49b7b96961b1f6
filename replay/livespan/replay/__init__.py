"""Replay: recorded runs, run again. What is here now: the demo, its command, and the doubles that tests of agents need (testing/)."""
