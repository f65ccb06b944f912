"""Blocking calls of asynchronous embedders, also where an event loop is already running."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

__all__ = ["run_blocking"]

_T = TypeVar("_T")


def run_blocking(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end and return its result; cancel it if the wait is interrupted.

    All calls share one event loop in a thread of its own, so that connections live on from call
    to call.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, _background_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@cache
def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="thinkroute-embed", daemon=True).start()
    return loop


# A forked child has the loop but not the thread that drives it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_background_loop.cache_clear)
