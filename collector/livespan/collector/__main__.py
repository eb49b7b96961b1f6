"""`python -m livespan.collector` is the `livespan` command: what starts a collector where no script is on the path."""

from __future__ import annotations

from livespan.collector.cli import main

if __name__ == "__main__":
    main()
