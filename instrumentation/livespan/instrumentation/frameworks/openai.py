"""The OpenAI client, version 2 and 3: which of its functions are replaced. What stands in their place:

    client_calls.py       requests, answered whole
    client_streams.py     requests whose answer is streamed
    client_answers.py     an answer between the client's objects and the record
    openai_requests.py    what of a request identifies it, and what an answer says of itself

Recorded are chat completions, responses and embeddings, of OpenAI's own API and of whatever speaks like it. Every other
address, raw responses (`with_raw_response`, `with_streaming_response`) and what goes over a websocket pass.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["OpenAIInstrumentor"]

_PROVIDERS: Final = {"Azure": "azure.ai.openai", "Bedrock": "aws.bedrock"}
_hooks: Final = Hooks()


class OpenAIInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks the OpenAI client; also by OpenTelemetry's auto-instrumentation, as `livespan_openai`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("openai >= 2, < 4",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the client is not installed.
        from openai import _base_client, _streaming  # pyright: ignore[reportPrivateUsage]  # the public door shows no base

        from livespan.instrumentation.frameworks import client_calls as calls
        from livespan.instrumentation.frameworks.client_streams import require_iterator
        from livespan.instrumentation.frameworks.openai_requests import ENDPOINTS

        client = calls.Client("openai", ENDPOINTS, _PROVIDERS)
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
