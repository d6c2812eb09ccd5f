"""Run a program of any language against its tests, and say what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from helpers.project import BookError, UsageError

from . import backends, languages
from .checkers import exact
from .identify import identify
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

COMPILE_LIMITS = Limits(
    cpu_seconds=30, wall_seconds=90, memory_bytes=2048 * MIB, processes=256,
    output_bytes=96 * MIB, file_bytes=512 * MIB, open_files=1024,
)  # fmt: skip
_MESSAGE_BYTES = 64 << 10  # of a compiler's messages that are kept
_CACHE_BYTES = 256 * MIB
# The program in the box: compile, then hand the results over on stdout. The compiler's own words
# go to stderr, so that they cannot be taken for results.
_COMPILE = 'mkdir -p out && "$@" 1>&2 && exec tar -cf - out'


@dataclass(frozen=True)
class Program:
    """A program that is ready to run: its language, its files, and how it was compiled."""

    language: languages.Language
    toolchain: languages.Toolchain
    code: str
    files: Mapping[str, bytes]
    compilation: Execution | None
    failed: bool = False  # it does not compile


class Sandbox:
    """Runs untrusted programs of many languages, each in a box of its own.

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
        self.limits = limits or Limits()
        self.compile_limits = compile_limits
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UsageError(f"workers is {workers!r}: give a whole number from 1 on.")
        self.workers = workers or os.cpu_count() or 1
        self._languages = _allowed(languages)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[str, Future[Program]] = OrderedDict()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self.python, python_mounts = _python()
        needed = [*python_mounts, *mounts]
        for found in self._languages.values():
            if isinstance(found, _languages_module.Toolchain):
                needed += found.mounts
        self.backend, self.walls = _choose(
            backend, list(dict.fromkeys(needed)), self.workers, self.python, allow_unsafe
        )

    # ------------------------------------------------------------------ what can be run

    @property
    def languages(self) -> dict[str, str]:
        """Language -> version of its toolchain, or ``not available: install …``."""
        return {
            name: str(getattr(found, "version", found)) for name, found in self._languages.items()
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
        checker : decides whether an output is the expected one (see `helpers.sandbox.checkers`)
        limits : default: the sandbox's

        Raises
        ------
        UsageError : for code that is empty, has a NUL byte, is too long, or whose language cannot
            be identified; for an empty list of tests
        NotAvailable : if the language's toolchain is not here
        SandboxError : if the sandbox itself failed
        """
        listed = _tests(tests, stdin)
        chosen = self._language(code, language)
        program = self._compile(code, chosen)
        common = {
            "language": chosen.code,
            "compilation": program.compilation,
            "backend": self.backend.name,
        }
        if program.failed:
            return _not_compiled(program, common)
        outcomes = self._outcomes(program, listed, checker, limits or self.limits)
        broken = [o for o in outcomes if o.verdict is Verdict.RUNTIME_ERROR]
        if broken and chosen.check is not None:
            # An interpreter finds a syntax error only when it runs; ask it without running.
            program = self._check(program)
            if program.failed:
                return _not_compiled(program, common | {"compilation": program.compilation})
        verdicts = [outcome.verdict for outcome in outcomes]
        verdict = worst(verdicts)
        first = next((o for o in outcomes if o.verdict is verdict), outcomes[0])
        passed = sum(v is Verdict.ACCEPTED for v in verdicts)
        message = f"{passed} of {len(outcomes)} tests passed."
        if verdict is not Verdict.ACCEPTED:
            message += f" {verdict.capitalize()}: {first.detail}" if first.detail else ""
        return Feedback(
            verdict=verdict, reward=reward(verdicts), tests=tuple(outcomes), message=message,
            **common,
        )  # fmt: skip

    def submit(self, code: str, **options: Any) -> Future[Feedback]:
        """Start `run` in the background and return a future of its feedback."""
        with self._lock:
            if self._closed:
                raise SandboxError("The sandbox is closed: make a new one.")
            if self._threads is None:
                self._threads = ThreadPoolExecutor(2 * self.workers, "sandbox-run")
            return self._threads.submit(self.run, code, **options)

    async def arun(self, code: str, **options: Any) -> Feedback:
        """Do what `run` does, for ``await``."""
        return await asyncio.wrap_future(self.submit(code, **options))

    def run_many(self, programs: Iterable[Mapping[str, Any]]) -> list[Feedback]:
        """Run many programs side by side.

        Parameters
        ----------
        programs : for each, the arguments of `run` by name

        Returns
        -------
        One feedback for each, in their order. A program that could not be run, such as one of a
        language that is not here, has the verdict "sandbox error", no reward, and the reason.
        """
        futures = [self.submit(**program) for program in programs]
        return [_settled(future, self.backend.name) for future in futures]

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
            list(argv), dict(files or {}), stdin, dict(env or {}), limits or self.limits,
            address_space, tuple(mounts),
        )  # fmt: skip
        return self.backend.run(job)

    def close(self) -> None:
        """End the worker and everything that runs. Closing twice is fine."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, None
        self.backend.close()
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    # ------------------------------------------------------------------ parts of a run

    def _language(self, code: str, name: str) -> languages.Language:
        _check_code(code)
        if name == "auto":
            found = identify(code)
            if found.language == "unknown":
                raise UsageError(
                    f"The language could not be identified ({found.reason}): "
                    "name it, such as language='python'."
                )
            name = found.language
        language = languages.resolve(name)
        if language.code not in self._languages:
            allowed = ", ".join(self._languages)
            raise UsageError(f"{language.title} is not allowed in this sandbox: {allowed} are.")
        return language

    def _toolchain(self, language: languages.Language) -> languages.Toolchain:
        found = self._languages[language.code]
        if isinstance(found, str):
            raise NotAvailable(f"{language.title} is {found}.")
        return found

    def _compile(self, code: str, language: languages.Language) -> Program:
        """Compile once for each program, however often and from however many threads it is run."""
        toolchain = self._toolchain(language)
        key = hashlib.sha256(
            b"\0".join([language.code.encode(), toolchain.version.encode(), to_bytes(code)])
        ).hexdigest()
        with self._lock:
            future = self._compiled.get(key)
            mine = future is None
            if future is None:
                future = self._compiled[key] = Future()
            else:
                self._compiled.move_to_end(key)
        if mine:
            try:
                future.set_result(self._build(code, language, toolchain))
            except BaseException as error:
                with self._lock:
                    self._compiled.pop(key, None)
                future.set_exception(error)
            self._trim()
        return future.result()

    def _build(
        self, code: str, language: languages.Language, toolchain: languages.Toolchain
    ) -> Program:
        source = {language.source_name(code): to_bytes(code)}
        if language.compile is None:
            return Program(language, toolchain, code, source, None)
        argv = language.compile(toolchain, code, self.compile_limits)
        ran = self.execute(
            ["/bin/sh", "-c", _COMPILE, "sh", *argv], source, limits=self.compile_limits,
            mounts=toolchain.mounts, env=language.compile_env, address_space=False,
        )  # fmt: skip
        if ran.problem:
            raise SandboxError(f"The compiler could not be run: {ran.problem}.")
        results = ran.stdout
        short = _shortened(ran)
        if not ran.ok:
            return Program(language, toolchain, code, source, short, failed=True)
        return Program(language, toolchain, code, _unpack(results), short)

    def _check(self, program: Program) -> Program:
        check = program.language.check
        assert check is not None
        ran = self.execute(
            check(program.toolchain, program.code, self.compile_limits), program.files,
            limits=self.compile_limits, mounts=program.toolchain.mounts,
            env=program.language.env, address_space=False,
        )  # fmt: skip
        if ran.problem:
            raise SandboxError(f"The syntax check could not be run: {ran.problem}.")
        failed = not ran.ok and not ran.killed_for
        return Program(
            program.language, program.toolchain, program.code, program.files, _shortened(ran),
            failed,
        )  # fmt: skip

    def _outcomes(
        self, program: Program, tests: Sequence[Test], checker: Checker, limits: Limits
    ) -> list[TestOutcome]:
        if len(tests) == 1:
            return [self._outcome(program, tests[0], checker, limits)]
        results: list[TestOutcome | None] = [None] * len(tests)
        errors: list[BaseException] = []
        waiting = iter(enumerate(tests))
        gate = threading.Lock()

        def work() -> None:
            while not errors:
                with gate:
                    number, test = next(waiting, (-1, None))
                if test is None:
                    return
                try:
                    results[number] = self._outcome(program, test, checker, limits)
                except BaseException as error:
                    errors.append(error)

        helpers = [
            threading.Thread(target=work, name="sandbox-test", daemon=True)
            for _ in range(min(self.workers, len(tests)) - 1)
        ]
        for thread in helpers:
            thread.start()
        work()
        for thread in helpers:
            thread.join()
        if errors:
            raise errors[0]
        return [result for result in results if result is not None]

    def _outcome(
        self, program: Program, test: Test, checker: Checker, limits: Limits
    ) -> TestOutcome:
        language = program.language
        raised = limits.with_(
            processes=max(limits.processes, language.processes),
            open_files=max(limits.open_files, language.open_files),
            file_bytes=max(limits.file_bytes, sum(map(len, program.files.values()))),
        )
        argv = language.run(program.toolchain, program.code, raised)
        ran = self.execute(
            argv, program.files, to_bytes(test.stdin), raised, program.toolchain.mounts,
            language.env_for(raised), language.address_space,
        )  # fmt: skip
        return judge(ran, test, checker, language)

    def _trim(self) -> None:
        """Forget the programs that were used longest ago, if they take too much room."""
        with self._lock:
            sizes = {
                key: sum(map(len, future.result().files.values()))
                for key, future in self._compiled.items()
                if future.done() and future.exception() is None
            }
            total = sum(sizes.values())
            for key in list(sizes):
                if total <= _CACHE_BYTES and len(self._compiled) <= 10_000:
                    break
                total -= sizes[key]
                del self._compiled[key]


_languages_module = languages


def judge(
    ran: Execution, test: Test, checker: Checker, language: languages.Language
) -> TestOutcome:
    """Return the verdict of one run. The limits come first, then the exit status, then the output.

    Nothing that the program prints can make a verdict better: its output is compared only after
    it ended by itself with exit status 0.
    """
    if ran.problem:
        return TestOutcome(Verdict.SANDBOX_ERROR, ran, ran.problem)
    by_limit = {
        "cpu": (Verdict.TIME_LIMIT, f"more than {ran.cpu_seconds:.1f} s of processor time"),
        "wall": (Verdict.TIME_LIMIT, f"no end after {ran.wall_seconds:.1f} s on the clock"),
        "memory": (Verdict.MEMORY_LIMIT, "more memory than allowed"),
        "output": (Verdict.OUTPUT_LIMIT, "more output than allowed"),
    }
    if ran.killed_for:
        if ran.killed_for not in by_limit:
            return TestOutcome(Verdict.SANDBOX_ERROR, ran, f"the run was {ran.killed_for}")
        return TestOutcome(by_limit[ran.killed_for][0], ran, by_limit[ran.killed_for][1])
    if ran.exit_code != 0:
        said = ran.stderr.decode("utf-8", "replace")
        if language.memory_signature.search(said[-4000:]):
            return TestOutcome(Verdict.MEMORY_LIMIT, ran, "an allocation was refused")
        ended = f"signal {ran.signal}" if ran.signal else f"exit status {ran.exit_code}"
        lines = said.strip().splitlines()
        return TestOutcome(Verdict.RUNTIME_ERROR, ran, lines[-1][:300] if lines else ended)
    if test.expected is None:
        return TestOutcome(Verdict.ACCEPTED, ran)
    expected = to_bytes(test.expected)
    if checker(to_bytes(test.stdin), expected, ran.stdout):
        return TestOutcome(Verdict.ACCEPTED, ran)
    return TestOutcome(Verdict.WRONG_ANSWER, ran, _difference(expected, ran.stdout))


def _difference(expected: bytes, actual: bytes) -> str:
    wanted, found = (part.decode("utf-8", "replace").split("\n") for part in (expected, actual))
    for number in range(max(len(wanted), len(found))):
        one, other = (
            lines[number].rstrip() if number < len(lines) else "" for lines in (wanted, found)
        )
        if one != other:
            return f"line {number + 1} should be {one[:80]!r} and is {other[:80]!r}"
    return "the checker refuses the output"


def _not_compiled(program: Program, common: Mapping[str, Any]) -> Feedback:
    ran = program.compilation
    assert ran is not None
    said = ran.stderr.decode("utf-8", "replace").strip()
    if ran.killed_for:
        said = f"the compiler was ended by its limit of {ran.killed_for}"
    return Feedback(
        verdict=Verdict.COMPILE_ERROR, reward=reward([Verdict.COMPILE_ERROR]),
        message=f"It does not compile: {said[:300] or 'no message'}", **common,
    )  # fmt: skip


def _settled(future: Future[Feedback], backend: str) -> Feedback:
    try:
        return future.result()
    except BookError as error:
        return Feedback("", Verdict.SANDBOX_ERROR, None, message=str(error), backend=backend)


def _shortened(ran: Execution) -> Execution:
    """A compiler's run as it is kept: its messages, and not the program it made."""
    return Execution(
        ran.exit_code, ran.signal, ran.killed_for, b"", ran.stderr[:_MESSAGE_BYTES],
        ran.truncated or len(ran.stderr) > _MESSAGE_BYTES, ran.cpu_seconds, ran.wall_seconds,
        ran.memory_bytes, ran.problem,
    )  # fmt: skip


def _unpack(archive: bytes) -> dict[str, bytes]:
    """Read what a compiler made. The archive comes out of the box, so nothing in it is trusted."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            for entry in packed:
                if entry.isfile():
                    name = backends.safe_name(entry.name)
                    content = packed.extractfile(entry)
                    files[name] = content.read() if content else b""
                if len(files) > 200:
                    raise SandboxError("The compiler made more than 200 files.")
    except (tarfile.TarError, UsageError, EOFError, OSError, ValueError) as error:
        raise SandboxError(f"What the compiler made cannot be read: {error}.") from None
    return files


def _tests(tests: Iterable[Test] | None, stdin: str | bytes) -> list[Test]:
    if tests is None:
        return [Test(stdin)]
    if stdin:
        raise UsageError("Give either tests or stdin, not both.")
    if isinstance(tests, Test):
        raise UsageError("tests is one test: give a list.")
    listed = list(tests)
    if not listed:
        raise UsageError("A program without a test has no verdict: give at least one test.")
    if len(listed) > MAX_TESTS:
        raise UsageError(f"{len(listed)} tests: give at most {MAX_TESTS}.")
    for test in listed:
        if not isinstance(test, Test):
            raise UsageError(f"A test is a {type(test).__name__}: give Test(stdin, expected).")
    return listed


def _check_code(code: str) -> None:
    if not isinstance(code, str):
        raise UsageError(f"The code is a {type(code).__name__}: give text.")
    if not code.strip():
        raise UsageError("The code is empty.")
    if "\0" in code:
        raise UsageError("The code holds a NUL byte, which no source text does.")
    if len(to_bytes(code)) > MAX_CODE:
        raise UsageError(f"The code has more than {MAX_CODE} bytes.")


def _allowed(names: Sequence[str] | None) -> dict[str, languages.Toolchain | str]:
    if isinstance(names, str):
        raise UsageError(f"languages is the text {names!r}: give a list, such as ['python'].")
    if names is None:
        return languages.toolchains()
    if not names:
        raise UsageError("languages is empty: name at least one, or leave it out for all.")
    return languages.toolchains([languages.resolve(name).code for name in names])


def _python() -> tuple[str, tuple[str, ...]]:
    try:
        found = languages.find("python")
    except NotAvailable:
        return "/usr/bin/python3", ()
    return found.programs["python3"], tuple(found.mounts)


_chosen: dict[tuple[Any, ...], dict[str, bool]] = {}


def _choose(
    name: str, mounts: list[str], workers: int, python: str, allow_unsafe: bool
) -> tuple[backends.Backend, dict[str, bool]]:
    """Return the back-end and what its probe found."""
    if name != "auto":
        backend = backends.make(name, mounts, workers)
        if not backend.safe and not allow_unsafe:
            raise UsageError(
                f"The back-end {name} is unsafe: its programs reach the network and your files. "
                "For programs that you trust, add allow_unsafe=True."
            )
        reason = backend.problem()
        if reason:
            raise NotAvailable(f"The back-end {name} does not work here: {reason}.")
        walls = _probed(backend, mounts, python)
        open_ = [wall for wall, stands in walls.items() if not stands]
        if open_ and not allow_unsafe:
            backend.close()
            raise NotAvailable(
                f"The back-end {name} is not safe on this machine: the probe found no wall for "
                f"{'; '.join(open_)}."
            )
        return backend, walls
    reasons = []
    for candidate in backends.NAMES:
        backend = backends.make(candidate, mounts, workers)
        if not backend.safe:
            continue
        reason = backend.problem()
        if reason is None:
            try:
                walls = _probed(backend, mounts, python)
            except (SandboxError, NotAvailable) as error:
                reason = str(error).rstrip(".")
            else:
                open_ = [wall for wall, stands in walls.items() if not stands]
                if not open_:
                    return backend, walls
                reason = f"the probe found no wall for {'; '.join(open_)}"
        reasons.append(f"{candidate}: {reason}")
        backend.close()
    raise NotAvailable(
        "No safe way to run untrusted programs was found here. " + ". ".join(reasons) + "."
    )


def _probed(backend: backends.Backend, mounts: list[str], python: str) -> dict[str, bool]:
    key = (backend.name, tuple(mounts), python, os.getuid())
    if key not in _chosen:
        _chosen[key] = backends.probe(backend, python)
    return dict(_chosen[key])
