"""One model call that two instrumentations saw: LangChain's, say, and that of the OpenAI client below it.

    ChatOpenAI       langchain   ├──────────────┤   8 + 30 tokens
    ChatCompletion   openai         ├────────┤      8 + 30 tokens: an echo

A foreign PROMPT is an echo where another framework's PROMPT of the run began no later and ended no earlier, and both
say the same of it: the same tokens, the same end; where neither counted tokens, the same model. Parents do not tell:
many a framework's instrumentation does not put its span around the call, and both hang side by side.

The view `nodes` (collector/lake/views.py) says the same in SQL, so that sums of tokens count a call once.
"""

from __future__ import annotations

from collections.abc import Sequence

from livespan.proto.foreign.asking import Step
from livespan.proto.node import NodeType

__all__ = ["echoes"]


def echoes(steps: Sequence[Step]) -> set[str]:
    """Return the node ids of foreign PROMPTs that stand for a call that another PROMPT stands for already."""
    found: set[str] = set()
    # By what they say of their call: the framework that ended last so far, and the last end of any other framework.
    latest: dict[tuple[object, ...], tuple[int, str, int]] = {}
    prompts = [step for step in steps if step.type == NodeType.PROMPT and step.started_ns and step.ended_ns]
    for step in sorted(prompts, key=lambda step: (step.started_ns, -step.ended_ns, step.node_id)):
        counted = step.tokens != (None, None)
        said = (step.failed, step.tokens, "" if counted else step.model)
        end_ns, framework, other_ns = latest.get(said, (-1, step.framework, -1))
        if step.foreign and not step.holds and (end_ns if framework != step.framework else other_ns) >= step.ended_ns:
            found.add(step.node_id)
        if framework == step.framework:
            latest[said] = (max(end_ns, step.ended_ns), framework, other_ns)
        elif step.ended_ns > end_ns:
            latest[said] = (step.ended_ns, step.framework, end_ns)
        else:
            latest[said] = (end_ns, framework, max(other_ns, step.ended_ns))
    return found
