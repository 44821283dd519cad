"""The calls that canary_steps.py makes, in the target's interpreter. Standard library only, Python 3.8 and later."""

from __future__ import annotations

import ctypes
import importlib
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Skip(Exception):
    """The step does not apply here."""


class Bad(Exception):
    """A call answered with a code that is a fault."""


class Maps:
    """The GPU libraries mapped into this process."""

    def __init__(self, pattern: str) -> None:
        self._wanted = re.compile(pattern)

    def now(self) -> list[str]:
        """Return their paths, in order of address."""
        paths: list[str] = []
        try:
            with open("/proc/self/maps", "rb") as maps:
                lines = maps.read().split(b"\n")
        except OSError:
            return paths
        for line in lines:
            fields = line.split(None, 5)
            if len(fields) < 6 or fields[5][:1] != b"/" or fields[5].endswith(b" (deleted)"):
                continue
            # The kernel writes a newline in a name as an escape, and nothing else.
            path = os.fsdecode(fields[5].replace(b"\\012", b"\n"))
            if path not in paths and self._wanted.match(os.path.basename(path)):
                paths.append(path)
        return paths

    def first(self, patterns: Sequence[str]) -> str | None:
        """Return the first mapped library whose file name matches, by order of the patterns."""
        paths = self.now()
        for pattern in patterns:
            for path in paths:
                if re.match(pattern, os.path.basename(path)):
                    return path
        return None


def perform(step: dict[str, Any], maps: Maps, say: Callable[[dict[str, Any]], object]) -> None:
    """Make a step's calls in order; the first that fails ends it."""
    if step["hide_devices"]:
        # So that nothing is allocated on a GPU that is in use: the libraries load all the same.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    say({"maps": maps.now()})
    try:
        for operation in step["operations"]:
            say({"begin": label_of(operation)})
            try:
                value, path = OPERATIONS[operation["do"]](operation, maps)
            except Skip as reason:
                if operation["optional"]:
                    continue
                say({"outcome": "skipped", "reason": str(reason)})
                return
            say({"call": label_of(operation), "value": value, "path": path})
            say({"maps": maps.now()})
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are answers as well
        say({"maps": maps.now()})
        say({"outcome": "failed", "reason": told(error)})
        return
    say({"outcome": "ok"})


def label_of(operation: dict[str, Any]) -> str:
    """Return what a call is named in a report."""
    if operation["do"] == "python":
        return f"{operation['module']}.{operation['attribute']}"
    return str(operation["functions"][0])


def told(error: BaseException) -> str:
    """Return an error as one text: the message of a loader, else type and message."""
    text = str(error)
    if isinstance(error, (OSError, Bad)) and text:
        return text[:2000]
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:2000]


# --- operations ------------------------------------------------------------------------------------------------------


def call_python(operation: dict[str, Any], _maps: Maps) -> tuple[str, str | None]:
    """Call an attribute of a module, or read it."""
    value: Any = importlib.import_module(operation["module"])
    for name in operation["attribute"].split("."):
        value = getattr(value, name)
    if callable(value):
        value = value(*operation["arguments"])
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    return str(value)[:500], None


def call_function(operation: dict[str, Any], maps: Maps) -> tuple[str, str | None]:
    """Call the first function of the list that a mapped library exports."""
    path = operation["library"] or maps.first(operation["where"])
    if not path:
        raise Skip(f"no library is loaded on which {operation['functions'][0]} could be called")
    library = ctypes.CDLL(path)
    name = next((n for n in operation["functions"] if hasattr(library, n)), None)
    if not name:
        raise Skip(f"{os.path.basename(path)} has no {operation['functions'][0]}")
    value = SIGNATURES[operation["signature"]](getattr(library, name))
    check_status(operation, name, value)
    return str(value), path


def call_backend(operation: dict[str, Any], maps: Maps) -> tuple[str, str | None]:
    """Finalize a cuDNN backend descriptor, at which the graph library opens its engines and heuristics."""
    path = maps.first(operation["where"])
    if not path:
        raise Skip("no cuDNN is loaded")
    library = ctypes.CDLL(path)
    if not hasattr(library, "cudnnGraphVersionCheck"):
        raise Skip(f"{os.path.basename(path)} is no cuDNN 9")
    descriptor = ctypes.c_void_p()
    code = library.cudnnBackendCreateDescriptor(ctypes.c_int(operation["descriptor"]), ctypes.byref(descriptor))
    if code:
        raise Bad(f"cudnnBackendCreateDescriptor answered {code}")
    code = library.cudnnBackendFinalize(descriptor)
    check_status(operation, "cudnnBackendFinalize", code)
    return str(code), path


def check_status(operation: dict[str, Any], name: str, value: object) -> None:
    """Raise when a call answered with a code that the operation calls a fault."""
    bad = operation["bad"]
    if isinstance(value, int) and (value != 0 if bad == "nonzero" else value in (bad or ())):
        raise Bad(f"{name} answered {value}")


# --- signatures ------------------------------------------------------------------------------------------------------


def by_size(function: Any) -> Any:
    """Call a function that returns a size_t."""
    function.restype = ctypes.c_size_t
    return function()


def by_handle(function: Any) -> Any:
    """Call a function that makes something and stores a handle to it."""
    return function(ctypes.byref(ctypes.c_void_p()))


def by_number(function: Any) -> str:
    """Call a function that stores one int; 0 is success."""
    number = ctypes.c_int()
    check(function, function(ctypes.byref(number)))
    return str(number.value)


def by_pair(function: Any) -> str:
    """Call a function that stores two ints, major and minor."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    check(function, function(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def by_property(function: Any) -> str:
    """Call a function that stores a library property: 0 major, 1 minor, 2 patch."""
    parts = []
    for kind in (0, 1, 2):
        number = ctypes.c_int()
        check(function, function(ctypes.c_int(kind), ctypes.byref(number)))
        parts.append(str(number.value))
    return ".".join(parts)


def check(function: Any, code: int) -> None:
    """Raise for a code other than success."""
    if code:
        raise Bad(f"{function.__name__} answered {code}")


SIGNATURES: dict[str, Callable[[Any], Any]] = {
    "none": lambda function: function(),
    "zero": lambda function: function(ctypes.c_uint(0)),
    "size": by_size,
    "handle": by_handle,
    "number": by_number,
    "pair": by_pair,
    "property": by_property,
}
OPERATIONS: dict[str, Callable[[dict[str, Any], Maps], tuple[str, str | None]]] = {
    "python": call_python,
    "function": call_function,
    "backend": call_backend,
}
