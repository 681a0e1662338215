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
AGAIN = 0.02  # seconds: the callback is over then

_program = False  # whether this process is the command line, and not a test or a notebook that calls it


def as_program() -> None:
    """Mark this process as the command line: until a command begins, and when it is done, Ctrl-C just ends it."""
    global _program
    _program = True
    _on_signal(_leave)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """End the process at Ctrl-C: an exception in the middle of an import comes out as another one, or as a traceback."""
    _on_signal(_leave)
    try:
        yield
    finally:
        _on_signal(signal.default_int_handler)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command end at Ctrl-C with what the exception says, else with the sentence that nothing was written."""
    import typer

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            _on_signal(signal.default_int_handler)
            with _not_lost():
                command(*arguments, **options)
        except KeyboardInterrupt as cause:
            typer.echo(str(cause) or NOTHING, err=True)
            raise typer.Exit(INTERRUPTED) from cause
        finally:
            _on_signal(lambda *_: os._exit(INTERRUPTED))

    return run


@contextlib.contextmanager
def _not_lost() -> Iterator[None]:
    """Raise Ctrl-C again that came where Python only prints exceptions, such as in a weak reference's callback."""
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        number = signal.SIGINT if unraisable.exc_type is KeyboardInterrupt else signal.SIGTERM
        later = threading.Timer(AGAIN, signal.pthread_kill, [threading.main_thread().ident, number])
        later.daemon = True
        later.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _on_signal(handler: Callable[..., Any]) -> None:
    """Set what Ctrl-C does to this program; under nohup it does nothing, and only the main thread is told of it."""
    main = threading.current_thread() is threading.main_thread()
    if _program and main and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, handler)


def _leave(*_: Any) -> NoReturn:
    clear = CLEAR if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{clear}{NOTHING}\n".encode())
    os._exit(INTERRUPTED)
