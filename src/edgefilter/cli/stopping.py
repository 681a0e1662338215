"""Ctrl-C: what was kept and how to go on, in words and at any moment."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

__all__ = ["INTERRUPTED", "NOTHING", "as_program", "guarded", "loading"]

INTERRUPTED = 130  # the exit code: 128 and the number of SIGINT
NOTHING = "Stopped: nothing was written. Start the same command again."
CLEAR = "\r\x1b[K\x1b[?25h"  # of a terminal: the line of a spinner away, and the cursor back

_program = False  # whether this process is the command line, and not a test or a notebook that calls it


@contextlib.contextmanager
def as_program() -> Iterator[None]:
    """Mark this process as the command line: its end needs no words, and its imports may be cut short."""
    global _program
    _program = True
    try:
        yield
    finally:
        _on_signal(lambda *_: os._exit(INTERRUPTED))


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """End the process at Ctrl-C: an exception in the middle of an import comes out as another one, or as a traceback."""
    if not _program or not _on_signal(_leave):
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command end at Ctrl-C with what the exception says, else with the sentence that nothing was written."""
    import typer

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as cause:
            typer.echo(str(cause) or NOTHING, err=True)
            raise typer.Exit(INTERRUPTED) from cause

    return run


def _on_signal(handler: Callable[..., Any]) -> bool:
    """Set what Ctrl-C does, unless it is ignored, as under nohup, or this is not the thread that is told of it."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        return False
    signal.signal(signal.SIGINT, handler)
    return True


def _leave(*_: Any) -> NoReturn:
    clear = CLEAR if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{clear}{NOTHING}\n".encode())
    os._exit(INTERRUPTED)
