"""Processes that work for this one, and end with it."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any


class Processes:
    """One process for each piece of work that runs at a time, kept for the next.

    Each is a pool of one, so that one that dies, for want of memory perhaps, takes no other along.
    All watch a pipe whose other end is in this process alone: when it closes, as it does however
    this process ends, by SIGKILL too, they end at once.
    """

    def __init__(self) -> None:
        """No process is started yet."""
        self._context = multiprocessing.get_context("spawn")
        self._watched, self._held = self._context.Pipe(duplex=False)
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future[Any], ProcessPoolExecutor] = {}

    def __enter__(self) -> "Processes":
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for what runs; where an error ends this, everything ends."""
        if kind is not None:
            self._held.close()
        for pool in (*self._idle, *self._busy.values()):
            pool.shutdown(cancel_futures=True)
        self._held.close()
        self._watched.close()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Starts work in a process that has none, or a new one."""
        pool = self._idle.pop() if self._idle else self._start()
        future = pool.submit(function, *args)
        self._busy[future] = pool
        return future

    def error(self, future: Future[Any]) -> str | None:
        """Why finished work failed, None if it did not; its process is free again."""
        pool = self._busy.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            pool.shutdown()
            return "its process was killed, perhaps for want of memory"
        self._idle.append(pool)
        return None if error is None else str(error)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_end_with, initargs=(self._watched,)
        )


def _end_with(parent: Connection) -> None:
    """Ends this process when the other end of a pipe closes, on which nothing is ever sent."""
    threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent: Connection) -> None:
    parent.poll(None)
    os._exit(1)
