"""`serve --forward URL`: what was acknowledged goes on to the user's own OTLP backend, as ordinary spans.

    intake, after the acknowledgement ─▶ queue.py (bounded) ─▶ forwarder.py, one thread:
        complete.py   records of a node ─▶ one span: the end, with what its start said; no state, no started records
        sdk_spans.py  the span as the stock exporter takes it
        target.py     URL and headers ─▶ stock exporter, OTLP/gRPC or OTLP/HTTP

Nothing waits for the backend: neither an acknowledgement nor the log's recycling. What it guarantees:

    backend away          spans wait in the queue; where it is full the oldest are dropped, and counted
    collector killed      what was queued is sent again, as far as the log still holds it; some spans arrive twice
    sent twice            the same trace id, span id and times: a backend that folds by id shows one
    backend refuses       a batch that it refuses while it takes an empty one is dropped, and counted

Where it stands is kept in the home's forward.json (sequence.py). A backend that is named for the first time gets what
is recorded from then on.
"""
