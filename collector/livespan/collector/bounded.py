"""Work in a thread that may be left behind: for the end of a process, which a hung disk must not keep for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["finishes_within"]


async def finishes_within(timeout_s: float, work: Callable[[], None]) -> bool:
    """Run work in a daemon thread and return whether it ended in time; raises what it raised.

    Where it did not, it goes on until the process ends.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if ended.done():
            return  # nobody waits any more
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # a thread's border: who waits is told
            failure = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, name="livespan-ending", daemon=True).start()
    done, _ = await asyncio.wait([ended], timeout=timeout_s)
    if not done:
        ended.cancel()
        return False
    ended.result()
    return True
