"""The Anthropic client, version 2: which of its functions are replaced. What stands in their place:

    client_calls.py       requests, answered whole
    client_streams.py     requests whose answer is streamed
    client_answers.py     an answer between the client's objects and the record
    anthropic_requests.py    what of a request identifies it, and what an answer says of itself

Recorded are messages, beta or not, of Anthropic and of the clouds that its client speaks to. Every other address
(batches, token counts, files) and raw responses (`with_raw_response`, `with_streaming_response`) pass.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["AnthropicInstrumentor"]

_PROVIDERS: Final = {"Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai"}
_hooks: Final = Hooks()


class AnthropicInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks the Anthropic client; also by OpenTelemetry's auto-instrumentation, as `livespan_anthropic`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("anthropic >= 2, < 3",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the client is not installed.
        from anthropic import _base_client, _streaming  # pyright: ignore[reportPrivateUsage]  # the public door shows no base

        from livespan.instrumentation.frameworks import client_calls as calls
        from livespan.instrumentation.frameworks.anthropic_requests import ENDPOINTS
        from livespan.instrumentation.frameworks.client_streams import require_iterator

        client = calls.Client("anthropic", ENDPOINTS, _PROVIDERS)
        try:
            require_iterator(_streaming.Stream, _streaming.AsyncStream)
            _hooks.replace(_base_client.SyncAPIClient, "request", calls.recording_request(client))
            _hooks.replace(_base_client.AsyncAPIClient, "request", calls.recording_arequest(client))
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
