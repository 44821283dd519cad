"""Child of a deep check: imports packages in the target's interpreter and makes, one process each, the calls asked for.

Started by the *target* interpreter with `-B -c BOOT canary_steps.py PLAN`; standard library only, Python 3.8 and later;
imports nothing of ours and writes no file. PLAN is JSON: see gpudoctor.canary.steps. One JSON document a line goes to
standard output, each as soon as it is known, so that what was learnt before a crash is kept.
"""

# The target may be as old as Python 3.8: no match, no `X | Y`, no removeprefix.
import ctypes
import importlib
import json
import os
import re
import select
import signal
import sys
import time
import warnings

EXCERPT_BYTES = 8192
ANSWER_BYTES = 1 << 18
# After the death of a step, what a process that it left behind still writes is not waited for.
LINGER_S = 0.2


def main():
    """Run the plan: stage after stage, each an import and the steps that follow from it."""
    plan = json.loads(sys.argv[2])
    # What a package or a driver library prints on stdout must not mix with the documents.
    out = os.dup(1)
    os.dup2(2, 1)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

    def say(document):
        os.write(out, encoded(document))

    maps = Maps(plan["libraries"])
    for number, stage in enumerate(plan["stages"]):
        if not import_stage(number, stage, plan, maps, say):
            break
        failed = set()
        for step in stage["steps"]:
            run = run_here if plan["in_process"] else run_forked
            if step["after"] in failed:
                ending = {"outcome": "skipped", "reason": "%s failed before it" % step["after"]}
            else:
                ending = run(step, plan, maps)
            if ending["outcome"] != "ok":
                failed.add(step["name"])
            say(dict(ending, stage=number, step=step["name"]))
    sys.stdout.flush()
    # Not through the exit handlers of what was imported: all is said, and they could still hang.
    os._exit(0)


def import_stage(number, stage, plan, maps, say):
    """Import a stage's module; the alarm kills this process when that takes too long. Returns whether it worked."""
    module = stage["module"]
    if not module:
        return True
    say({"stage": number, "step": "import", "outcome": "begun"})
    started = time.monotonic()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, plan["limit_s"])
    try:
        imported = importlib.import_module(module)
        ending = {
            "outcome": "ok",
            "calls": [["%s.__version__" % module, str(getattr(imported, "__version__", "?")), None]],
        }
    except BaseException as error:  # SystemExit and KeyboardInterrupt are answers as well
        ending = {"outcome": "failed", "reason": told(error), "failed_call": "import %s" % module}
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(dict(ending, stage=number, step="import", maps=maps.now(), ms=ms_since(started)))
    return ending["outcome"] == "ok"


# --- one step --------------------------------------------------------------------------------------------------------


def run_forked(step, plan, maps):
    """Run a step in a fork of this process, so that only the fork dies of it."""
    answer_read, answer_write = os.pipe()
    error_read, error_write = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on a fork beside threads warns; OpenBLAS and OpenMP have threads, and handle the fork.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        try:
            os.dup2(error_write, 1)
            os.dup2(error_write, 2)
            perform(step, maps, lambda document: os.write(answer_write, encoded(document)))
        finally:
            os._exit(0)
    os.close(answer_write)
    os.close(error_write)
    started = time.monotonic()
    watched = Watch(pid, answer_read, error_read, started + plan["limit_s"])
    status, timed_out = watched.wait()
    os.close(answer_read)
    os.close(error_read)
    lines = watched.kept[answer_read].split(b"\n")[:-1]
    ending = read_answer([json.loads(line.decode()) for line in lines])
    ending["ms"] = ms_since(started)
    ending["stderr"] = bytes(watched.kept[error_read][-EXCERPT_BYTES:]).decode("utf-8", "replace")
    if timed_out:
        ending["outcome"] = "timeout"
    elif os.WIFSIGNALED(status):
        ending["outcome"] = "crashed"
        ending["signal"] = os.WTERMSIG(status)
    elif "outcome" not in ending:
        ending["outcome"] = "crashed"
        ending["reason"] = "the process ended by itself, with status %d" % os.WEXITSTATUS(status)
    return ending


def run_here(step, plan, maps):
    """Run a step in this very process, for a trace of the loader."""
    said = []
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, plan["limit_s"])
    perform(step, maps, said.append)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return dict(read_answer(said), ms=ms_since(started))


def read_answer(said):
    """Fold what a step said into its ending; without an outcome when it did not come to its end."""
    ending = {"calls": [], "maps": []}
    for document in said:
        if "begin" in document:
            ending["failed_call"] = document["begin"]
        if "call" in document:
            ending["calls"].append([document["call"], document["value"], document["path"]])
        for name in ("maps", "outcome", "reason"):
            if name in document:
                ending[name] = document[name]
    if ending.get("outcome") in ("ok", "skipped"):
        ending.pop("failed_call", None)
    return ending


class Watch:
    """Reads a child's answer and its error output, bounded, until it ends or its time is over."""

    def __init__(self, pid, answer, errors, deadline):
        self.pid = pid
        self.answer = answer
        self.deadline = deadline
        self.open = [answer, errors]
        self.kept = {answer: bytearray(), errors: bytearray()}

    def wait(self):
        """Return the wait status and whether the child was killed at the deadline."""
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.drain()
                return status, False
            if time.monotonic() >= self.deadline:
                os.kill(self.pid, signal.SIGKILL)
                status = os.waitpid(self.pid, 0)[1]
                self.drain()
                return status, True
            if not self.read(0.01):
                time.sleep(0.001)

    def drain(self):
        until = time.monotonic() + LINGER_S
        while self.open and time.monotonic() < until and self.read(0):
            pass

    def read(self, timeout_s):
        """Read what is there; returns whether anything came, the end of a pipe included."""
        ready = select.select(self.open, [], [], timeout_s)[0] if self.open else []
        for fd in ready:
            part = os.read(fd, 65536)
            kept = self.kept[fd]
            if not part:
                self.open.remove(fd)
            elif fd == self.answer:
                kept += part[: ANSWER_BYTES - len(kept)]
            else:
                kept += part
                del kept[: max(0, len(kept) - 4 * EXCERPT_BYTES)]
        return bool(ready)


# --- the calls -------------------------------------------------------------------------------------------------------


class Skip(Exception):
    """The step does not apply here."""


class Bad(Exception):
    """A call answered with a code that is a fault."""


def perform(step, maps, say):
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
    except BaseException as error:
        say({"maps": maps.now()})
        say({"outcome": "failed", "reason": told(error)})
        return
    say({"outcome": "ok"})


def label_of(operation):
    """Return what a call is named in a report."""
    if operation["do"] == "python":
        return "%s.%s" % (operation["module"], operation["attribute"])
    if operation["do"] == "open":
        return "dlopen %s" % operation["name"]
    if operation["do"] == "backend":
        return "cudnnBackendFinalize"
    return operation["functions"][0]


def call_python(operation, _maps):
    """Call an attribute of a module, or read it."""
    value = importlib.import_module(operation["module"])
    for name in operation["attribute"].split("."):
        value = getattr(value, name)
    if callable(value):
        value = value(*operation["arguments"])
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    return str(value)[:500], None


def call_open(operation, maps):
    """Open a library by name; what lies beside another that is mapped only when nobody opened it yet."""
    name = operation["name"]
    beside = operation["beside"]
    if not beside:
        ctypes.CDLL(name)
        return "opened", maps.first(["^%s" % re.escape(os.path.basename(name))])
    mapped = maps.first(["^%s" % re.escape(name)])
    if mapped:
        return "opened", mapped
    neighbour = maps.first(beside)
    path = os.path.join(os.path.dirname(neighbour), name) if neighbour else ""
    if not os.path.exists(path):
        raise Skip("nobody opened %s" % name)
    # Only to hear the loader's own reason: cuDNN keeps it to itself.
    ctypes.CDLL(path)
    return "not opened", None


def call_function(operation, maps):
    """Call the first function of the list that a mapped library exports."""
    path = operation["library"] or maps.first(operation["where"])
    if not path:
        raise Skip("no library like %s is loaded" % " or ".join(operation["where"]))
    library = ctypes.CDLL(path)
    name = next((n for n in operation["functions"] if hasattr(library, n)), None)
    if not name:
        raise Skip("%s has no %s" % (os.path.basename(path), operation["functions"][0]))
    value = SIGNATURES[operation["signature"]](getattr(library, name))
    bad = operation["bad"]
    if isinstance(value, int) and (value in bad if isinstance(bad, list) else bad == "nonzero" and value):
        raise Bad("%s answered %d" % (name, value))
    return str(value), path


def by_size(function):
    """Call a function that returns a size_t."""
    function.restype = ctypes.c_size_t
    return function()


def by_handle(function):
    """Call a function that makes something and stores a handle to it."""
    return function(ctypes.byref(ctypes.c_void_p()))


def by_number(function):
    """Call a function that stores one int; 0 is success."""
    number = ctypes.c_int()
    code = function(ctypes.byref(number))
    if code:
        raise Bad("%s answered %d" % (function.__name__, code))
    return str(number.value)


def by_pair(function):
    """Call a function that stores two ints, major and minor."""
    numbers = ctypes.c_int(), ctypes.c_int()
    code = function(*map(ctypes.byref, numbers))
    if code:
        raise Bad("%s answered %d" % (function.__name__, code))
    return "%d.%d" % (numbers[0].value, numbers[1].value)


def by_property(function):
    """Call a function that stores a library property: 0 major, 1 minor, 2 patch."""
    parts = []
    for kind in (0, 1, 2):
        number = ctypes.c_int()
        code = function(ctypes.c_int(kind), ctypes.byref(number))
        if code:
            raise Bad("%s answered %d" % (function.__name__, code))
        parts.append(str(number.value))
    return ".".join(parts)


def call_backend(operation, maps):
    """Finalize a cuDNN backend descriptor, at which the graph library opens its engines and heuristics."""
    path = maps.first(operation["where"])
    if not path:
        raise Skip("no cuDNN is loaded")
    library = ctypes.CDLL(path)
    if not hasattr(library, "cudnnGraphVersionCheck"):
        raise Skip("%s is no cuDNN 9" % os.path.basename(path))
    descriptor = ctypes.c_void_p()
    code = library.cudnnBackendCreateDescriptor(ctypes.c_int(operation["descriptor"]), ctypes.byref(descriptor))
    if code:
        raise Bad("cudnnBackendCreateDescriptor answered %d" % code)
    return str(library.cudnnBackendFinalize(descriptor)), path


SIGNATURES = {
    "none": lambda function: function(),
    "zero": lambda function: function(ctypes.c_uint(0)),
    "size": by_size,
    "handle": by_handle,
    "number": by_number,
    "pair": by_pair,
    "property": by_property,
}
OPERATIONS = {"python": call_python, "open": call_open, "function": call_function, "backend": call_backend}


# --- small things ----------------------------------------------------------------------------------------------------


class Maps:
    """The GPU libraries mapped into this process."""

    def __init__(self, pattern):
        self.wanted = re.compile(pattern)

    def now(self):
        """Return their paths, in order of address."""
        paths = []
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
            if path not in paths and self.wanted.match(os.path.basename(path)):
                paths.append(path)
        return paths

    def first(self, patterns):
        """Return the first mapped library whose file name matches, by order of the patterns."""
        paths = self.now()
        for pattern in patterns:
            for path in paths:
                if re.match(pattern, os.path.basename(path)):
                    return path
        return None


def told(error):
    """Return an error as one text: the message of a loader, else type and message."""
    text = str(error)
    if isinstance(error, (OSError, Bad)) and text:
        return text[:2000]
    return ("%s: %s" % (type(error).__name__, text) if text else type(error).__name__)[:2000]


def encoded(document):
    """Return a document as a line; what is no UTF-8 in a path becomes a question mark."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def ms_since(started):
    """Return the milliseconds since a moment."""
    return int((time.monotonic() - started) * 1000)


if __name__ == "__main__":
    main()
