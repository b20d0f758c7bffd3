"""A forked process that goes on as if an interpreter had been started with a script."""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import re
import signal
import sys
import threading
import types
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def become(script: str) -> NoReturn:
    """Run a file as the main program, then end this process as the interpreter would."""
    _show_as(sys.executable, script)
    _draw_anew()
    sys.argv = [script]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script, __cached__=None)
    sys.modules["__main__"] = main
    interrupted, status = False, 0
    try:
        text = Path(script).read_bytes()
        exec(compile(text, script, "exec"), main.__dict__)
    except SystemExit as end:
        status = _status(end.code)
    except BaseException as error:
        own = error.__traceback__ and error.__traceback__.tb_next  # without this function
        sys.excepthook(type(error), error.with_traceback(own), own)
        interrupted, status = isinstance(error, KeyboardInterrupt), 1
    _finish()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def _status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _finish() -> None:
    """What the interpreter does at its end, but for taking modules apart."""
    with suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)  # what libraries have printed by C's means


def _draw_anew() -> None:
    """Let copies of one process draw different numbers where a library draws without a seed."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()


def _show_as(*words: str) -> None:
    """Be found under the script's name in the list of processes."""
    shown = b"\0".join(os.fsencode(word) for word in words) + b"\0"
    with suppress(OSError, ValueError, IndexError):
        # The name, in brackets, may hold spaces; arg_start and arg_end are fields 48 and 49.
        fields = re.sub(r"^.*\)", "", Path("/proc/self/stat").read_text(encoding="utf-8")).split()
        start, end = int(fields[45]), int(fields[46])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(shown[: end - start - 1].ljust(end - start, b"\0"))
