"""Replay: recorded runs, run again. Here now: the demo with its command, and what tests of agents need (testing/)."""
