"""Run a program of any language against its tests, and say what came of it."""

from __future__ import annotations

import os
import re
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.project import BookError, UsageError, suggest

from . import backends
from .checkers import exact
from .identification import identify
from .languages import LANGUAGES, Language, Toolchain, resolve, toolchains
from .pool import Stop
from .records import (
    MAX_CODE,
    MAX_TESTS,
    MIB,
    Checker,
    Execution,
    Feedback,
    Limits,
    NotAvailable,
    SandboxError,
    Test,
    TestOutcome,
    Verdict,
    reward,
    to_bytes,
    worst,
)
from .text import printable

COMPILE_LIMITS = Limits(
    cpu_seconds=30, wall_seconds=90, memory_bytes=2048 * MIB, processes=256,
    output_bytes=96 * MIB, file_bytes=512 * MIB, open_files=1024,
)  # fmt: skip
_MESSAGE_BYTES = 64 << 10  # of a compiler's messages that are kept
_CACHE_BYTES = 256 * MIB
_CACHE_PROGRAMS = 10_000
_PAGE = 4096
# The program in the box: compile, then hand the results over on stdout. The compiler's own words
# go to stderr, so that they cannot be taken for results.
_COMPILE = 'mkdir -p out && "$@" 1>&2 && exec tar -cf - out'
_OPTIONS = ("tests", "stdin", "language", "checker", "limits")


@dataclass(frozen=True)
class Program:
    """A program that is ready to run: its language, its files, and how it was compiled."""

    language: Language
    toolchain: Toolchain
    code: str
    files: Mapping[str, bytes]
    compilation: Execution | None = None
    failed: bool = False  # it does not compile

    @property
    def room(self) -> int:
        """Bytes of the box's disk that the files take."""
        return sum(-(-len(content) // _PAGE) * _PAGE + _PAGE for content in self.files.values())


class Sandbox:
    """Runs untrusted programs of many languages, each in a box of its own.

    Safe to use from several threads, and by the children of a fork.

    Parameters
    ----------
    languages : codes such as ``["python", "go"]`` to allow; default: every one that is found here
    limits : of each test's run
    compile_limits : of a compiler
    backend : ``bwrap``, ``unshare``, ``docker``, ``rlimits``, or ``auto``: the strongest that
        passes a probe on this machine
    workers : boxes at a time; default: the number of cores
    mounts : folders of this machine that every box sees, read-only, at the same path
    allow_unsafe : must be True for a back-end that the probe finds open; nothing but harmless
        programs may run in it

    Attributes
    ----------
    backend : the back-end in use; its ``name`` says which
    walls : what the probe tried in it -> whether it was held back
    python : a Python that starts in a box
    toolchains : language -> what is found of it here, or what to install

    Raises
    ------
    NotAvailable : if no back-end works here, or the one asked for does not
    UsageError : for an unknown language or back-end, and for an unsafe one without consent

    Example
    -------
    >>> with Sandbox() as box:
    ...     box.run("print(int(input()) * 2)", tests=[Test("21", "42")]).verdict
    <Verdict.ACCEPTED: 'accepted'>
    """

    def __init__(
        self,
        languages: Sequence[str] | None = None,
        limits: Limits | None = None,
        backend: str = "auto",
        *,
        compile_limits: Limits = COMPILE_LIMITS,
        workers: int | None = None,
        mounts: Sequence[str] = (),
        allow_unsafe: bool = False,
    ) -> None:
        codes = _codes(languages)
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UsageError(f"workers is {workers!r}: give a whole number from 1 on.")
        self.limits = _limits(limits) or Limits()
        self.compile_limits = _limits(compile_limits) or COMPILE_LIMITS
        self.workers = workers or _cores()
        self._cache: OrderedDict[str, Future[Program]] = OrderedDict()
        self._cached_bytes = 0
        self._closed = False
        self._reset()
        made = _choose(backend, codes, _folders(mounts), self.workers, allow_unsafe)
        self.backend, self.walls, self.python, self.toolchains = made
        _sandboxes.add(self)

    def _reset(self) -> None:
        """Make what does not survive a fork: locks, threads, and the compilations under way."""
        self._lock = threading.Lock()
        self._runs: ThreadPoolExecutor | None = None  # what `submit` was given
        self._helpers: ThreadPoolExecutor | None = None  # further tests of one program
        for key in [key for key, future in self._cache.items() if not future.done()]:
            del self._cache[key]

    # ------------------------------------------------------------------ what can be run

    @property
    def languages(self) -> dict[str, str]:
        """Language -> version of its toolchain, or ``not available: install …``."""
        return {
            code: found if isinstance(found, str) else found.version
            for code, found in self.toolchains.items()
        }

    def run(
        self,
        code: str,
        tests: Iterable[Test] | None = None,
        stdin: str | bytes = b"",
        language: str = "auto",
        checker: Checker = exact,
        limits: Limits | None = None,
    ) -> Feedback:
        """Run one program on its tests, each in a fresh box, and judge it.

        Parameters
        ----------
        code : the source text
        tests : what it reads and should write; default: one test with ``stdin`` and no expected
            output, which an exit status of 0 passes
        language : a code or name such as ``python`` or ``C++``; ``auto`` identifies it
        checker : decides whether an output is the expected one (see `helpers.sandbox.checkers`);
            with several tests it is called from several threads
        limits : default: the sandbox's

        Raises
        ------
        UsageError : for code that is empty, has a NUL byte, is too long, or whose language cannot
            be identified; for an empty list of tests
        NotAvailable : if the language's toolchain is not here
        SandboxError : if the sandbox itself failed
        """
        return self._run(Stop(), code, tests, stdin, language, checker, limits)

    def submit(self, code: str, **options: Any) -> Future[Feedback]:
        """Start `run` in the background and return a future of its feedback."""
        return self._submit(Stop(), code, options)

    async def arun(self, code: str, **options: Any) -> Feedback:
        """Do what `run` does, for ``await``. Cancelling ends the run."""
        import asyncio

        stop = Stop()
        try:
            return await asyncio.wrap_future(self._submit(stop, code, options))
        except asyncio.CancelledError:
            stop.set()
            raise

    def run_many(self, programs: Iterable[Mapping[str, Any]]) -> list[Feedback]:
        """Run many programs side by side.

        Parameters
        ----------
        programs : for each, the arguments of `run` by name

        Returns
        -------
        One feedback for each, in their order. A program that could not be run, such as one of a
        language that is not here, has the verdict "sandbox error", no reward, and the reason.

        Raises
        ------
        UsageError : if an entry has no ``code``, or an argument that `run` does not have
        """
        listed = [_arguments(program) for program in programs]
        stop = Stop()
        futures: list[Future[Feedback]] = []
        try:
            futures += [self._submit(stop, code, options) for code, options in listed]
            return [_settled(future, self.backend.name) for future in futures]
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise

    def execute(
        self,
        argv: Sequence[str],
        files: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        limits: Limits | None = None,
        mounts: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        address_space: bool = True,
    ) -> Execution:
        """Run any command line in a box, such as an analysis tool, and return what happened.

        Parameters
        ----------
        argv : the program, absolute or on the box's PATH, and its arguments
        files : name under /box, where the program starts -> content
        mounts : folders to show, read-only, at the same path
        address_space : False for run times that reserve more memory than they use
        """
        job = backends.Job(
            list(argv), dict(files or {}), stdin, dict(env or {}), _limits(limits) or self.limits,
            address_space, _folders(mounts),
        )  # fmt: skip
        return self._execute(job, Stop())

    def close(self) -> None:
        """End the worker and everything that runs. Closing twice is fine."""
        with self._lock:
            self._closed = True
            pools = [pool for pool in (self._runs, self._helpers) if pool is not None]
            self._runs = self._helpers = None
        self.backend.close()
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    # ------------------------------------------------------------------ parts of a run

    def _submit(self, stop: Stop, code: str, options: Mapping[str, Any]) -> Future[Feedback]:
        code, options = _arguments({**options, "code": code})
        with self._lock:
            self._open()
            if self._runs is None:
                self._runs = ThreadPoolExecutor(2 * self.workers, "sandbox-run")
            return self._runs.submit(self._run, stop, code, **options)

    def _open(self) -> None:
        if self._closed:
            raise SandboxError("The sandbox is closed: make a new one.")

    def _run(
        self,
        stop: Stop,
        code: str,
        tests: Iterable[Test] | None = None,
        stdin: str | bytes = b"",
        language: str = "auto",
        checker: Checker = exact,
        limits: Limits | None = None,
    ) -> Feedback:
        listed = _tests(tests, stdin)
        allowed = _limits(limits) or self.limits
        if not callable(checker):
            raise UsageError(f"The checker is a {type(checker).__name__}: give a function.")
        program = self._compile(code, self._allowed(language_of(code, language)), stop)
        if program.failed:
            return self._not_compiled(program)
        outcomes: list[TestOutcome] = []
        # An interpreter finds a syntax error only when it runs. If a run fails, ask the interpreter
        # without running: after the first test already, or a torn program would run on every one.
        asked = program.language.check is None
        for part in (listed[:1], listed[1:]):
            outcomes += self._outcomes(program, part, checker, allowed, stop)
            if not asked and any(map(_failed_by_itself, outcomes)):
                asked = True
                checked = self._check(program, stop)
                if checked.failed:
                    return self._not_compiled(checked)
        verdicts = [outcome.verdict for outcome in outcomes]
        verdict = worst(verdicts)
        first = next(outcome for outcome in outcomes if outcome.verdict is verdict)
        passed = sum(v is Verdict.ACCEPTED for v in verdicts)
        message = f"{passed} of {len(outcomes)} tests passed."
        if verdict is not Verdict.ACCEPTED:
            message += f" {verdict.capitalize()}: {first.detail}."
        return Feedback(
            language=program.language.code,
            verdict=verdict,
            reward=reward(verdicts),
            tests=tuple(outcomes),
            compilation=program.compilation,
            message=message,
            backend=self.backend.name,
        )

    def _not_compiled(self, program: Program) -> Feedback:
        ran = program.compilation
        assert ran is not None
        said = ran.stderr.decode("utf-8", "replace").strip()
        if ran.killed_for:
            said = f"the compiler was ended by its limit of {ran.killed_for}"
        return Feedback(
            language=program.language.code,
            verdict=Verdict.COMPILE_ERROR,
            reward=reward([Verdict.COMPILE_ERROR]),
            compilation=ran,
            message=f"It does not compile: {printable(said[:300]) or 'no message'}",
            backend=self.backend.name,
        )

    def _allowed(self, language: Language) -> Language:
        if language.code not in self.toolchains:
            allowed = ", ".join(self.toolchains)
            raise UsageError(f"{language.title} is not allowed in this sandbox: {allowed} are.")
        return language

    def _execute(self, job: backends.Job, stop: Stop) -> Execution:
        self._open()
        return self.backend.run(job, stop)

    def _compile(self, code: str, language: Language, stop: Stop) -> Program:
        """Compile once for each program, however often and from however many threads it is run."""
        import hashlib

        toolchain = self.toolchains[language.code]
        if isinstance(toolchain, str):
            raise NotAvailable(f"{language.title} is {toolchain}.")
        if language.compile is None:
            return Program(language, toolchain, code, {language.source_name(code): to_bytes(code)})
        parts = (language.code.encode(), toolchain.version.encode(), to_bytes(code))
        key = hashlib.sha256(b"\0".join(parts)).hexdigest()
        while True:
            with self._lock:
                future = self._cache.get(key)
                if future is None:
                    mine: Future[Program] = Future()
                    self._cache[key] = mine
                    break
                self._cache.move_to_end(key)
            program = _awaited(future, stop)
            if program is not None:
                return program
        try:
            program = self._build(code, language, toolchain, stop)
        except BaseException as error:
            with self._lock:
                self._cache.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(program)
        self._keep(key, program)
        return program

    def _build(self, code: str, language: Language, toolchain: Toolchain, stop: Stop) -> Program:
        assert language.compile is not None
        source = {language.source_name(code): to_bytes(code)}
        argv = language.compile(toolchain, code, self.compile_limits)
        job = backends.Job(
            ["/bin/sh", "-c", _COMPILE, "sh", *argv], source, env=language.compile_env,
            limits=self.compile_limits, address_space=False, mounts=toolchain.mounts,
        )  # fmt: skip
        ran = self._execute(job, stop)
        if ran.problem:
            raise SandboxError(f"The compiler could not be run: {ran.problem}.")
        short = _shortened(ran)
        if not ran.ok:
            return Program(language, toolchain, code, source, short, failed=True)
        return Program(language, toolchain, code, _unpack(ran.stdout), short)

    def _keep(self, key: str, program: Program) -> None:
        """Forget the programs that were used longest ago, if all take too much room."""
        waited = program.compilation is not None and program.compilation.killed_for == "wall"
        with self._lock:
            self._cached_bytes += program.room
            if waited:  # the machine was busy: it may go better next time
                self._drop(key)
            for old in list(self._cache):
                if self._cached_bytes <= _CACHE_BYTES and len(self._cache) <= _CACHE_PROGRAMS:
                    break
                if self._cache[old].done():
                    self._drop(old)

    def _drop(self, key: str) -> None:
        future = self._cache.pop(key, None)
        if future is not None:
            self._cached_bytes -= future.result().room

    def _check(self, program: Program, stop: Stop) -> Program:
        check = program.language.check
        assert check is not None
        job = backends.Job(
            check(program.toolchain, program.code, self.compile_limits), program.files,
            env=program.language.env, limits=self.compile_limits, address_space=False,
            mounts=program.toolchain.mounts,
        )  # fmt: skip
        ran = self._execute(job, stop)
        if ran.problem:
            raise SandboxError(f"The syntax check could not be run: {ran.problem}.")
        failed = not ran.ok and not ran.killed_for
        return replace(program, compilation=_shortened(ran), failed=failed)

    def _outcomes(
        self,
        program: Program,
        tests: Sequence[Test],
        checker: Checker,
        limits: Limits,
        stop: Stop,
    ) -> list[TestOutcome]:
        if len(tests) < 2:
            return [self._outcome(program, test, checker, limits, stop) for test in tests]
        results: dict[int, TestOutcome] = {}
        errors: list[BaseException] = []
        waiting = iter(enumerate(tests))
        gate = threading.Lock()
        inner = Stop()

        def work() -> None:
            while not errors:
                with gate:
                    number, test = next(waiting, (-1, None))
                if test is None:
                    return
                try:
                    results[number] = self._outcome(program, test, checker, limits, inner)
                except BaseException as error:
                    errors.append(error)
                    inner.set()  # the other tests need not go on

        with stop.calling(inner.set):
            helpers = self._hire(work, min(self.workers, len(tests)) - 1)
            try:
                work()
                for helper in helpers:
                    if not helper.cancel():
                        helper.result()
            except BaseException as error:
                errors.append(error)
                inner.set()
                raise
        if errors:
            raise errors[0]
        return [results[number] for number in range(len(tests))]

    def _hire(self, work: Any, number: int) -> list[Future[None]]:
        with self._lock:
            self._open()
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(self.workers, "sandbox-test")
            return [self._helpers.submit(work) for _ in range(number)]

    def _outcome(
        self, program: Program, test: Test, checker: Checker, limits: Limits, stop: Stop
    ) -> TestOutcome:
        language = program.language
        raised = limits.with_(
            processes=max(limits.processes, language.processes),
            open_files=max(limits.open_files, language.open_files),
            file_bytes=max(limits.file_bytes, program.room),
        )
        job = backends.Job(
            language.run(program.toolchain, program.code, raised), program.files,
            to_bytes(test.stdin), language.env_for(raised), raised, language.address_space,
            program.toolchain.mounts,
        )  # fmt: skip
        return judge(self._execute(job, stop), test, checker, language, raised)


_sandboxes: weakref.WeakSet[Sandbox] = weakref.WeakSet()


def _after_fork() -> None:
    for sandbox in list(_sandboxes):
        sandbox._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def language_of(code: str, name: str = "auto") -> Language:
    """Return the language that is named, or that the code is in.

    Raises
    ------
    UsageError : for code that cannot be a program, or whose language cannot be identified
    """
    _check_code(code)
    if name != "auto":
        return resolve(name)
    found = identify(code)
    if found.language == "unknown":
        raise UsageError(
            f"The language could not be identified ({found.reason}): "
            "name it, such as language='python'."
        )
    return resolve(found.language)


def judge(
    ran: Execution, test: Test, checker: Checker, language: Language, limits: Limits
) -> TestOutcome:
    """Return the verdict of one run. The limits come first, then the exit status, then the output.

    Nothing that the program prints can make a verdict better: its output is compared only after
    it ended by itself with exit status 0.
    """
    if ran.problem:
        return TestOutcome(Verdict.SANDBOX_ERROR, ran, ran.problem)
    limited = _limited(ran, language, limits)
    if limited is not None:
        verdict, detail = limited
        return TestOutcome(verdict, ran, detail)
    if ran.killed_for:
        return TestOutcome(Verdict.SANDBOX_ERROR, ran, f"the run was {ran.killed_for}")
    if ran.exit_code != 0:
        ended = f"signal {ran.signal}" if ran.signal else f"exit status {ran.exit_code}"
        return TestOutcome(Verdict.RUNTIME_ERROR, ran, error_line(ran.stderr) or ended)
    if test.expected is None:
        return TestOutcome(Verdict.ACCEPTED, ran)
    expected = to_bytes(test.expected)
    if checker(to_bytes(test.stdin), expected, ran.stdout):
        return TestOutcome(Verdict.ACCEPTED, ran)
    return TestOutcome(Verdict.WRONG_ANSWER, ran, _difference(expected, ran.stdout))


def _limited(ran: Execution, language: Language, limits: Limits) -> tuple[Verdict, str] | None:
    """The limit that a run met, if it met one."""
    if ran.killed_for == "cpu":
        return Verdict.TIME_LIMIT, f"more than {limits.cpu_seconds:g} s of processor time"
    if ran.killed_for == "wall":
        return Verdict.TIME_LIMIT, f"no end after {limits.wall:g} s on the clock"
    if ran.killed_for == "output" or ran.truncated:
        return Verdict.OUTPUT_LIMIT, f"more than {limits.output_bytes} bytes of output"
    # The sandbox looks from time to time, and may miss a peak that the kernel has noted.
    peak = ran.memory_bytes > max(limits.memory_bytes, 32 * MIB)
    # A C program that does not ask whether it got memory, and uses it, ends by a signal.
    used_up = bool(ran.signal) and ran.memory_bytes > 0.9 * limits.memory_bytes
    refused = ran.exit_code != 0 and language.memory_signature.search(
        ran.stderr[-4000:].decode("utf-8", "replace")
    )
    if ran.killed_for == "memory" or (not ran.killed_for and (peak or used_up or refused)):
        return Verdict.MEMORY_LIMIT, f"more than {limits.memory_bytes / MIB:g} MiB of memory"
    return None


# A line of stderr that names an error, in the way of one of the languages. Python and Node write
# it at the start of a line, others with words before it; a traceback's other lines have neither.
_NAMED = re.compile(r"^[\w.:]*(?:Error|Exception|Interrupt|Warning)\b")
_OTHER = re.compile(
    r"^(?:Exception in thread|panic: |fatal error: |thread '.*panicked|terminate called"
    r"|Unhandled [Ee]xception|\[ERROR\] FATAL|Aborted)|\((?:[A-Z]\w*::)*[A-Z]\w*Error\)$"
)


def error_line(stderr: bytes) -> str:
    """Return the line that says what went wrong; empty if there is none at all."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    named = [line for line in lines if _NAMED.search(line)][-1:]
    other = [line for line in lines if _OTHER.search(line)][:1]
    line = (named or other or lines[-1:] or [""])[0].strip()
    if line.endswith((":", "'")) and line in lines:  # Rust and C++ go on in the next line
        line += " " + " ".join(lines[lines.index(line) + 1 :][:1]).strip()
    return printable(line[:300].strip().removesuffix("."))


def _difference(expected: bytes, actual: bytes) -> str:
    wanted, found = (part.decode("utf-8", "replace").split("\n") for part in (expected, actual))
    for number in range(max(len(wanted), len(found))):
        one, other = (
            lines[number].rstrip() if number < len(lines) else "" for lines in (wanted, found)
        )
        if one != other:
            return f"line {number + 1} should be {_cut(one)} and is {_cut(other)}"
    return "the checker refuses the output"


def _cut(line: str) -> str:
    return repr(line) if len(line) <= 80 else f"{line[:80]!r}…"


def _failed_by_itself(outcome: TestOutcome) -> bool:
    ran = outcome.execution
    return not ran.killed_for and not ran.problem and ran.exit_code != 0


def _awaited(future: Future[Program], stop: Stop) -> Program | None:
    """The program that another thread compiles; None if that was broken off."""
    while True:
        stop.check()
        try:
            return future.result(0.1)
        except TimeoutError:
            continue
        except BaseException:
            if future.done():
                return None
            raise


def _arguments(program: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The code and the other arguments of one run."""
    if not isinstance(program, Mapping) or "code" not in program:
        raise UsageError("A program to run is a mapping with at least 'code'.")
    options = {name: value for name, value in program.items() if name != "code"}
    for name in options:
        if name not in _OPTIONS:
            hint = suggest(str(name), list(_OPTIONS))
            raise UsageError(f"Unknown argument {str(name)[:40]!r} of a run.{hint}")
    return program["code"], options


def _settled(future: Future[Feedback], backend: str) -> Feedback:
    try:
        return future.result()
    except BookError as error:
        return Feedback("", Verdict.SANDBOX_ERROR, None, message=str(error), backend=backend)


def _shortened(ran: Execution) -> Execution:
    """A compiler's run as it is kept: its messages, and not the program it made."""
    return replace(
        ran,
        stdout=b"",
        stderr=ran.stderr[:_MESSAGE_BYTES],
        truncated=ran.truncated or len(ran.stderr) > _MESSAGE_BYTES,
    )


def _unpack(archive: bytes) -> dict[str, bytes]:
    """Read what a compiler made. The archive comes out of the box, so nothing in it is trusted."""
    import io
    import tarfile

    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as packed:  # not compressed
            for entry in packed:
                if entry.isfile():
                    if entry.issparse() or entry.size > len(archive):
                        raise SandboxError("What the compiler made is larger than it says.")
                    name = backends.safe_name(entry.name)
                    content = packed.extractfile(entry)
                    files[name] = content.read() if content else b""
                if len(files) > backends.MAX_FILES:
                    raise SandboxError(f"The compiler made more than {backends.MAX_FILES} files.")
    except (tarfile.TarError, UsageError, EOFError, OSError, ValueError) as error:
        raise SandboxError(f"What the compiler made cannot be read: {error}.") from None
    return files


def _tests(tests: Iterable[Test] | None, stdin: str | bytes) -> list[Test]:
    if tests is None:
        return [Test(stdin)]
    if stdin:
        raise UsageError("Give either tests or stdin, not both.")
    if isinstance(tests, Test | str | bytes) or not isinstance(tests, Iterable):
        raise UsageError(f"tests is a {type(tests).__name__}: give a list of Test.")
    listed = []
    for test in tests:
        if not isinstance(test, Test):
            raise UsageError(f"A test is a {type(test).__name__}: give Test(stdin, expected).")
        listed.append(test)
        if len(listed) > MAX_TESTS:
            raise UsageError(f"There are more than {MAX_TESTS} tests: give at most that many.")
    if not listed:
        raise UsageError("A program without a test has no verdict: give at least one test.")
    return listed


def _check_code(code: str) -> None:
    if not isinstance(code, str):
        raise UsageError(f"The code is a {type(code).__name__}: give text.")
    if len(code) > MAX_CODE or len(to_bytes(code)) > MAX_CODE:
        raise UsageError(f"The code has more than {MAX_CODE} bytes.")
    if not code.strip():
        raise UsageError("The code is empty.")
    if "\0" in code:
        raise UsageError("The code holds a NUL byte, which no source text does.")


def _limits(limits: Limits | None) -> Limits | None:
    if limits is not None and not isinstance(limits, Limits):
        raise UsageError(f"limits is a {type(limits).__name__}: give Limits(…).")
    return limits


def _folders(mounts: Sequence[str]) -> tuple[str, ...]:
    """Folders to show in a box, checked: there, and by their whole path."""
    if isinstance(mounts, str | bytes | os.PathLike) or not isinstance(mounts, Iterable):
        raise UsageError(f"mounts is {mounts!r}: give a list of folders.")
    found = []
    for place in mounts:
        path = os.fspath(place) if isinstance(place, str | os.PathLike) else ""
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise UsageError(f"mounts holds {place!r}: give the whole path of a folder.")
        if not Path(path).exists():
            raise UsageError(f"mounts holds {path}, which does not exist.")
        found.append(path)
    return tuple(found)


def _codes(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(LANGUAGES)
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise UsageError(f"languages is {names!r}: give a list, such as ['python'].")
    codes = [resolve(name).code for name in names]
    if not codes:
        raise UsageError("languages is empty: name at least one, or leave it out for all.")
    return list(dict.fromkeys(codes))


def _cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ------------------------------------------------------------------ choosing a back-end

Made = tuple[backends.Backend, dict[str, bool], str, dict[str, Toolchain | str]]
_probes: dict[tuple[Any, ...], dict[str, bool]] = {}


def _choose(
    name: str, codes: list[str], mounts: tuple[str, ...], workers: int, allow_unsafe: bool
) -> Made:
    """Return the back-end, what its probe found, a Python for it, and its toolchains."""
    if name != "auto":
        backends.check_name(name)
        if name == "rlimits" and not allow_unsafe:
            raise UsageError(
                "The back-end rlimits is unsafe: its programs reach the network and your files. "
                "For programs that you trust, add allow_unsafe=True."
            )
        try:
            return _make(name, codes, mounts, workers, allow_unsafe)
        except _Unfit as error:
            reason = str(error).rstrip(".")
            raise NotAvailable(f"The back-end {name} does not work here: {reason}.") from None
    reasons = []
    for candidate in backends.NAMES:
        if candidate != "rlimits":
            try:
                return _make(candidate, codes, mounts, workers, allow_unsafe=False)
            except _Unfit as error:
                reasons.append(f"{candidate}: {error}")
    raise NotAvailable(
        "No safe way to run untrusted programs was found here. "
        + ". ".join(r.rstrip(".") for r in reasons)
        + "."
    )


class _Unfit(Exception):
    """Why a back-end cannot be used."""


def _make(
    name: str, codes: list[str], mounts: tuple[str, ...], workers: int, allow_unsafe: bool
) -> Made:
    if name != "docker" and sys.platform != "linux":
        raise _Unfit("it needs Linux; install Docker, which brings one")
    if name == "docker":
        backend = backends.make(name, mounts, workers)
    else:
        found = toolchains(codes)
        python, shown = _python()
        for entry in found.values():
            shown += () if isinstance(entry, str) else entry.mounts
        backend = backends.make(name, tuple(dict.fromkeys((*shown, *mounts))), workers)
    try:
        problem = backend.problem()
        if problem:
            raise _Unfit(problem)
        if isinstance(backend, backends.Docker):
            from .images import toolchains as toolchains_of

            found, python = toolchains_of(backend, codes), "python3"
        walls = _probed(backend, python, mounts)
        open_ = [wall for wall, stands in walls.items() if not stands]
        if open_ and not allow_unsafe:
            raise _Unfit(f"the probe found it open: not so that {'; '.join(open_)}")
    except (SandboxError, NotAvailable) as error:
        backend.close()
        raise _Unfit(str(error).rstrip(".") + _advice(str(error))) from None
    except BaseException:
        backend.close()
        raise
    return backend, walls, python, found


def _probed(backend: backends.Backend, python: str, mounts: tuple[str, ...]) -> dict[str, bool]:
    key = (backend.name, getattr(backend, "image", ""), python, mounts)
    if key not in _probes:
        _probes[key] = backends.probe(backend, python)
    return dict(_probes[key])


def _python() -> tuple[str, tuple[str, ...]]:
    found = toolchains(["python"])["python"]
    if isinstance(found, str):
        return "/usr/bin/python3", ()
    return found.programs["python3"], tuple(found.mounts)


# What keeps name spaces from a program -> what to do about it.
_SWITCHES = {
    ("kernel/apparmor_restrict_unprivileged_userns", "1"): (
        "This machine's AppArmor keeps user name spaces from programs: give bwrap a profile that "
        "allows userns, or set kernel.apparmor_restrict_unprivileged_userns=0 with sysctl"
    ),
    ("kernel/unprivileged_userns_clone", "0"): (
        "This machine's kernel keeps user name spaces from users: set "
        "kernel.unprivileged_userns_clone=1 with sysctl"
    ),
    ("user/max_user_namespaces", "0"): (
        "This machine allows no user name space: set user.max_user_namespaces=10000 with sysctl"
    ),
}
_WORDS = {
    r"setting up uid map|uid_map|RTM_NEWADDR": _SWITCHES[
        "kernel/apparmor_restrict_unprivileged_userns", "1"
    ],
    r"[Cc]an't mount proc|mount \S*/proc": (
        "A container hides /proc: start it with --security-opt systempaths=unconfined"
    ),
    r"[Nn]o permissions? to creat|[Cc]reating new namespace|unshare: Operation not permitted": (
        "A container forbids name spaces: start it with --security-opt seccomp=unconfined"
    ),
}
_SYSTEM = Path("/proc/sys")


def _advice(said: str) -> str:
    for (switch, value), advice in _SWITCHES.items():
        try:
            if (_SYSTEM / switch).read_text(encoding="ascii").strip() == value:
                return f". {advice}"
        except OSError:
            continue
    for words, advice in _WORDS.items():
        if re.search(words, said):
            return f". {advice}"
    return ""
