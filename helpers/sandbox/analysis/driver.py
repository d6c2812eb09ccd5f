"""Observes a Python program while it runs. This file is sent into the box and runs there.

The other side is `helpers.sandbox.analysis.dynamic`. The job comes on stdin as JSON, the report
leaves on stdout behind a word that only the two sides know.

Every run of the program is a process of its own, a fork of this one, so that no run changes what
the next one sees, and none can end the others. It has no descriptor that leads out of the box: what
it observed of itself it hands to this process, which alone writes the report. Still, the program
and what observes it are one process, and a hostile program can lie about its own run.
"""

import atexit
import base64
import contextlib
import json
import os
import random
import re
import resource
import select
import signal
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

OWN = str(Path(__file__).resolve())
PROGRAM = str(Path("main.py").resolve())
ORACLE = str(Path("oracle.py").resolve())
MESSAGE = 8 << 20  # bytes that a run may say about itself
OUTPUT = 1 << 20  # bytes that a program may write
GRACE = 1.0  # seconds for a run to report after its time is over
POLL = 0.05
ARCS = 20_000
FAILURES = 20  # different ones that are kept
STEPS = 60  # runs to shorten an input that fails
TEXT = 2000  # characters of an input that is made up
PIECES = (
    "0", "-1", "1", "2", "3", "7", "100", "1000000", "999999999999", "-999999999999", "0.5", "a",
    "Z", "abc", "", " ", "\n", "-", "é", "x" * 50, "()", "[", '"', "1e9",
)  # fmt: skip


class Slow(BaseException):
    """The run took more processor time than it may."""


# ------------------------------------------------------------------ in the process of a run


def execute(code, path, seconds):
    """Run the program as ``__main__`` and return how it ended; empty if it ended well."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__="main.py", __builtins__=__builtins__)
    sys.modules["__main__"] = module
    sys.argv = ["main.py"]

    def stop(*_):
        raise Slow

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.05)
    try:
        try:
            exec(code, module.__dict__)
        except SystemExit as error:
            return exit_status(error.code)
        finally:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            if not sys.stdout.closed:  # a program may close it
                sys.stdout.flush()
    except Slow:
        return "Slow"
    except BaseException as error:
        return described(error, path)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def exit_status(code):
    if code is None or code == 0:
        return ""
    return f"exit status {code if isinstance(code, int) else 1}"


def described(error, path):
    """The name of an error and the last line of the program that it came through."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    name = type(error).__name__
    return f"{name} in line {line}" if line else name


class Arcs:
    """Notes which line follows which, in each call of a function of the program."""

    def __init__(self, path):
        self.path = path
        self.found = set()

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename != self.path:
            return None
        found = self.found
        first = -frame.f_code.co_firstlineno
        last = first

        def local(frame, event, argument):
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                found.add((last, line))
                last = line
            elif event == "return":
                found.add((last, first))
            return local

        return local

    def start(self):
        threading.settrace(self)
        sys.settrace(self)

    def stop(self):
        sys.settrace(None)
        return {"arcs": sorted(self.found)[:ARCS]}


class Lines:
    """Counts how often each line is reached, and how long it takes, with what it calls."""

    def __init__(self, path):
        self.path = path
        self.hits = {}
        self.spent = {}

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename != self.path:
            return None
        line, since = 0, 0.0
        hits, spent, clock = self.hits, self.spent, time.perf_counter

        def local(frame, event, argument):
            nonlocal line, since
            now = clock()
            if line:
                spent[line] = spent.get(line, 0.0) + now - since
            line = 0
            if event == "line":
                line = frame.f_lineno
                hits[line] = hits.get(line, 0) + 1
            since = clock()
            return local

        return local

    def start(self):
        threading.settrace(self)
        sys.settrace(self)

    def stop(self):
        sys.settrace(None)
        return {"lines": [[n, self.hits[n], self.spent.get(n, 0.0)] for n in sorted(self.hits)]}


class Calls:
    """The profile of Python's own library: calls and seconds of each function."""

    def __init__(self, path):
        import cProfile
        import pstats

        self.path = path
        self.profile = cProfile.Profile()
        self.table = pstats.Stats

    def start(self):
        self.profile.enable()

    def stop(self):
        self.profile.disable()
        rows = []
        driver = Path(OWN).name
        stats = self.table(self.profile).stats  # type: ignore[attr-defined]
        for (file, line, name), (_, calls, own, total, callers) in stats.items():
            called_by = {Path(caller[0]).name for caller in callers}
            if Path(file).name == driver or (file != self.path and called_by <= {driver}):
                continue  # the driver's own work
            place = "main.py" if file == self.path else file
            rows.append(
                {
                    "ncalls": calls,
                    "tottime": own,
                    "percall": own / calls if calls else 0.0,
                    "cumtime": total,
                    "function": f"{place}:{line}({name})",
                }
            )
        rows.sort(key=lambda row: (-row["cumtime"], row["function"]))
        return {"functions": rows[:500]}


class Covered:
    """What the package coverage measures."""

    def __init__(self, path):
        self.path = path
        self.source = Path(path).read_bytes()
        self.coverage = measure()

    def start(self):
        self.coverage.start()

    def stop(self):
        self.coverage.stop()
        Path(self.path).write_bytes(self.source)  # the program may have changed its own text
        _, statements, _, missing, _ = self.coverage.analysis2(self.path)
        branches = self.coverage.branch_stats(self.path).values()
        arcs = sorted(self.coverage.get_data().arcs(self.path) or [])
        return {
            "statements": statements,
            "missing": missing,
            "branches": [sum(taken for _, taken in branches), sum(total for total, _ in branches)],
            "arcs": arcs[:ARCS],
        }


def measure():
    import coverage

    found = coverage.Coverage(
        data_file=None, branch=True, include=[PROGRAM], config_file=False, messages=False
    )
    for option in ("report:exclude_lines", "report:partial_branches"):
        found.set_option(option, [])  # no comment of the program hides a line
    return found


class Nothing:
    """Observes nothing."""

    def __init__(self, path):
        self.path = path

    def start(self):
        return

    def stop(self):
        return {}


# ------------------------------------------------------------------ in the process that reports


class Driver:
    """Starts runs and collects what they say.

    Parameters
    ----------
    seconds : processor time of a run
    memory : bytes of addresses of a run
    total, wall : seconds of the processor, and on the clock, after which no run is started
    """

    def __init__(self, report, seconds, memory, total, wall):
        self.report = report
        self.seconds = seconds
        self.memory = memory
        self.total = total
        self.until = time.monotonic() + wall
        self.codes = {}
        self.sources = {}

    def load(self, path):
        self.sources[path] = Path(path).read_bytes()
        self.codes[path] = compile(self.sources[path], path, "exec", dont_inherit=True)

    def over(self):
        """Whether there is no time for another run."""
        return sum(os.times()[:4]) > self.total or time.monotonic() > self.until

    def run(self, path, stdin, kind):
        """Run a program once and return what the observer saw, how it ended, and its output."""
        token = os.urandom(8).hex()
        for name, content in self.sources.items():  # an earlier run may have written there
            with contextlib.suppress(OSError):
                Path(name).write_bytes(content)
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(stdin)
            given.seek(0)
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reading)
                self._child(path, kind, given.fileno(), output.fileno(), writing, token)
            os.close(writing)
            said = self._hear(reading, pid)
            ended = self._end(pid)
            output.seek(0)
            text = output.read(OUTPUT)
        try:
            found = json.loads(said)
            if found.pop("token") != token or not isinstance(found["failed"], str):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            found = {"failed": ended}
        found["measured"] = len(found) > 1
        return found, text

    def _child(self, path, kind, given, output, writing, token):
        """Be the process of a run. This never returns."""
        status = 1
        real_exit = os._exit
        try:
            os.setsid()
            os.close(self.report)
            os.dup2(given, 0)
            os.dup2(output, 1)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            seconds = int(self.seconds + GRACE) + 1
            limits = (
                (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, OUTPUT),
                (resource.RLIMIT_AS, self.memory), (resource.RLIMIT_CORE, 0),
            )  # fmt: skip
            for limit, most in limits:
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(limit, (most, most))
            for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
                stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            os.environ.pop("PYTHONPATH", None)
            random.seed(0)
            observer = kind(path)
            own = os.getpid()

            def finish(failed):
                if os.getpid() != own:  # the program's own child
                    real_exit(0)
                found = observer.stop()
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                text = json.dumps({**found, "failed": failed, "token": token}).encode()
                for start in range(0, len(text), 1 << 16):
                    os.write(writing, text[start : start + (1 << 16)])

            def early(code):
                if os.getpid() == own:
                    finish(exit_status(code))
                real_exit(code)

            os._exit = early
            observer.start()
            failed = execute(self.codes[path], path, self.seconds)
            finish(failed)
            status = 0
        finally:
            real_exit(status)

    def _hear(self, reading, pid):
        """Read what a run says until it has said all, or its time is over."""
        end = time.monotonic() + 30 * self.seconds + 10 * GRACE
        idle = 2 * self.seconds + GRACE
        parts, size = [], 0
        try:
            while size < MESSAGE and idle > 0 and time.monotonic() < end:
                if not select.select([reading], [], [], POLL)[0]:
                    state = state_of(pid)
                    if state == "Z":
                        break  # only what it started still holds the pipe
                    # On a busy machine a run may wait for its turn; then it does not sleep.
                    idle -= POLL if state == "S" else 0
                    continue
                part = os.read(reading, 1 << 16)
                if not part:
                    break
                parts.append(part)
                size += len(part)
        finally:
            os.close(reading)
        return b"".join(parts)

    def _end(self, pid):
        """End a run with all that it started, and return how it ended if it said nothing."""
        until = time.monotonic() + 5 * POLL  # it has closed its pipe, so it may be about to end
        while not (over := state_of(pid) == "Z") and time.monotonic() < until:
            time.sleep(0.002)
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if not over or code in (-signal.SIGXCPU, -signal.SIGPROF):
            return "Slow"
        return f"signal {-code}" if code < 0 else exit_status(code) or "no report"


def state_of(pid):
    """The state of a run: Z if it has ended and is still to be waited for, S if it sleeps."""
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
        return "Z"
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "S"


def cover(driver, job):
    blank = measure()
    _, statements, _, _, _ = blank.analysis2(PROGRAM)
    rows = []
    for text in inputs(job):
        if driver.over():
            rows.append({"failed": "no time was left", "measured": False})
            continue
        rows.append(driver.run(PROGRAM, text, Covered)[0])
    return {"statements": statements, "rows": rows}


def profile(driver, job):
    (text,) = inputs(job)
    calls = driver.run(PROGRAM, text, Calls)[0]
    lines = driver.run(PROGRAM, text, Lines)[0]
    return {
        "functions": calls.get("functions", []),
        "lines": lines.get("lines", []),
        "failed": calls["failed"],
        "measured": calls["measured"] and lines["measured"],
    }


def inputs(job):
    return [base64.b64decode(text) for text in job["inputs"]]


class Fuzzer:
    """Looks for inputs that fail, led by the lines that they reach."""

    def __init__(self, driver, job):
        self.driver = driver
        self.random = random.Random(job["seed"])
        self.oracle = job["oracle"]
        self.budget = job["budget"]
        self.seen = set()
        self.corpus = []
        self.failures = {}
        self.known = {}  # input -> what came of it
        self.tried = 0

    def judged(self, text):
        """Return the arcs of an input and how it fails; empty if it does not."""
        if text not in self.known:
            stdin = text.encode("utf-8", "replace")
            found, out = self.driver.run(PROGRAM, stdin, Arcs)
            failed = found["failed"]
            if self.oracle:
                other, expected = self.driver.run(ORACLE, stdin, Nothing)
                if other["failed"]:
                    failed = ""  # the input itself is wrong
                elif not failed and out.split() != expected.split():
                    failed = "differs from the oracle"
            arcs = found.get("arcs")
            whole = isinstance(arcs, list)
            arcs = {tuple(arc) for arc in arcs if isinstance(arc, list)} if whole else set()
            self.known[text] = arcs, failed
        return self.known[text]

    def take(self, text):
        self.tried += 1
        arcs, failed = self.judged(text)
        if failed and failed not in self.failures and len(self.failures) < FAILURES:
            self.failures[failed] = text
        if arcs - self.seen and failed != "Slow":  # how far a slow run comes is chance
            self.seen |= arcs
            self.corpus.append(text)

    def search(self, seeds):
        for text in seeds or [""]:
            if self.tried < self.budget and not self.driver.over():
                self.take(text[:TEXT])
        self.corpus = self.corpus or [(seeds or [""])[0][:TEXT]]
        while self.tried < self.budget and not self.driver.over():
            self.take(self.changed(self.random.choice(self.corpus)))
        complete = self.tried >= self.budget
        for failed in list(self.failures):
            self.failures[failed] = self.shortened(self.failures[failed], failed)
        return {
            "tried": self.tried,
            "complete": complete,
            "failures": sorted(self.failures.items()),
            "arcs": len(self.seen),
            "corpus": self.corpus[:50],
        }

    def changed(self, text):
        source = self.random
        for _ in range(source.randint(1, 3)):
            spot = source.randint(0, len(text))
            kind = source.randrange(8)
            if kind == 0:
                text = text[:spot] + source.choice(PIECES) + text[spot:]
            elif kind == 1 and text:
                text = text[:spot] + text[spot + source.randint(1, 4) :]
            elif kind == 2 and text:
                end = min(len(text), spot + source.randint(1, 8))
                text = text[:end] + text[spot:end] + text[end:]
            elif kind == 3:
                other = source.choice(self.corpus)
                text = text[:spot] + other[source.randint(0, len(other)) :]
            elif kind == 4:
                lines = text.split("\n")
                one, two = source.randrange(len(lines)), source.randrange(len(lines))
                lines[one], lines[two] = lines[two], lines[one]
                text = "\n".join(lines)
            else:
                text = self.word_changed(text)
        return text[:TEXT]

    def word_changed(self, text):
        """Put another word, or a number near by, in the place of one."""
        source = self.random
        words = [match.span() for match in re.finditer(r"\S+", text)]
        if not words:
            return source.choice(PIECES)
        start, end = source.choice(words)
        word = text[start:end]
        if re.fullmatch(r"-?\d{1,18}", word) and source.random() < 0.6:
            number = int(word)
            near = (number + 1, number - 1, -number, 2 * number, number // 2, number * number)
            new = str(source.choice(near))
        else:
            new = source.choice(PIECES)
        return text[:start] + new + text[end:]

    def shortened(self, text, failed):
        """Return a shorter input that fails in the same way."""
        steps, size = 0, max(1, len(text) // 2)
        while size and steps < STEPS:
            spot, shorter = 0, False
            while spot < len(text) and steps < STEPS and not self.driver.over():
                cut = text[:spot] + text[spot + size :]
                steps += 1
                if self.judged(cut)[1] == failed:
                    text, shorter = cut, True
                else:
                    spot += size
            if self.driver.over():
                break
            size = size if shorter and size == 1 else size // 2
        return text


def fuzz(driver, job):
    if job["oracle"]:
        driver.load(ORACLE)
    seeds = [text.decode("utf-8", "replace") for text in inputs(job)]
    return Fuzzer(driver, job).search(seeds)


def main():
    with open(0, "rb", closefd=False) as stream:
        job = json.loads(stream.read())
    nonce = job.pop("nonce")
    report = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    driver = Driver(report, job["seconds"], job["memory"], job["total"], job["wall"])
    try:
        driver.load(PROGRAM)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    else:
        found = {"coverage": cover, "profile": profile, "fuzz": fuzz}[job["mode"]](driver, job)
    text = (nonce + json.dumps(found)).encode("ascii")
    while text:
        text = text[os.write(report, text) :]


if __name__ == "__main__":
    main()
