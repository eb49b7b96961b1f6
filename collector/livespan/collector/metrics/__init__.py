"""What the collector tells in numbers, at GET /metrics.

    livespan.measures (other components) ─┐
    families.py (the collector's own)     ├─▶ registry.py ─▶ text of Prometheus or OpenMetrics ─▶ route.py
    Context.metrics.add(source)          ─┘

Counting costs the hot path nothing that was not counted already: sources are asked when somebody scrapes. buckets.py
and timed_disk.py measure where only the moment itself can tell; they know nothing of Prometheus, whose library is
imported at the first scrape.
"""
