"""Functions in processes of their own: freshly forked ones, from a process that has only imported a module."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measuring.timing import Work


def in_new_process(module: str, function: str, *arguments: Any) -> Any:
    """Call a function of a module in a new process."""
    with _context(module).Pool(1) as pool:
        return pool.apply(getattr(import_module(module), function), arguments)


@contextmanager
def in_own_process(module: str, function: str, *arguments: Any) -> Iterator[Work]:
    """Yield the function that `function` of a module returns, which runs in a process of its own.

    Works that take turns then do not share a heap: what one of them has allocated decides which freed memory of the
    other returns to the system.
    """
    context = _context(module)
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, module, function, arguments), daemon=True)
    process.start()
    there.close()

    def call() -> None:
        here.send(None)
        here.recv()

    try:
        yield call
    finally:
        here.close()
        process.join()


def _context(module: str) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _serve(connection: Connection, module: str, function: str, arguments: tuple[Any, ...]) -> None:
    work = getattr(import_module(module), function)(*arguments)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        work()
        connection.send(None)
