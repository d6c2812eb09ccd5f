"""Ask a language model behind any OpenAI-compatible address, within a budget.

vLLM, Ollama, ``transformers serve`` and many others serve such an address. The prompts are in
`helpers.sandbox.prompts`. `Recorded` answers from a file instead of a model, and is called that
wherever it is used.

The server is not trusted: it may be slow, wrong, endless or hostile. It costs at most the time-out,
a few MiB and the budget, and learns nothing but the key, the prompts and the settings.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from helpers.project import MissingError, UsageError

from . import prompts
from .prompts import AssistantError, BadAnswer, Messages, visible
from .records import Feedback, Test

MAX_BODY = 4 << 20  # bytes of one response
_MAX_ERROR = 1 << 16  # bytes of a response that refuses
_PAUSE = 0.5  # seconds before the first retry; each further one waits twice as long
_LONGEST_PAUSE = 60.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Unreachable(AssistantError, MissingError):
    """Nothing answers at the address."""


class TimedOut(AssistantError):
    """The answer was not there in time."""


class KeyRefused(AssistantError, MissingError):
    """The server does not take the key."""


class Refused(AssistantError):
    """The server does not do what was asked, and would not if asked again."""


class ServerError(AssistantError):
    """The server failed, or was too busy, at every try."""


class BudgetExceeded(AssistantError):
    """The next request could go beyond the budget, and was not made."""


# ------------------------------------------------------------------ the budget


@dataclass
class Bill:
    """What is charged to a budget: tokens of prompts and of answers."""

    prompt: int = 0
    answer: int = 0


@dataclass
class Budget:
    """What may be spent; None is no limit. Several assistants, in several threads, may share one.

    A request is charged at the most it can use before it is made, and at what the server says
    afterwards. The most is a token for each byte of the prompt, and ``max_tokens``. What ended in a
    time-out or in nonsense stays charged at the most, since the model may have worked for it.

    Attributes
    ----------
    requests : retries count too
    tokens : of prompts and answers together
    cost : in the currency of the prices
    prompt_price, answer_price : of a million tokens

    Raises
    ------
    UsageError : for a number below 0, or a limit of cost without a price
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    prompt_price: float = 0.0
    answer_price: float = 0.0
    spent_requests: int = field(default=0, init=False)
    spent: Bill = field(default_factory=Bill, init=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "cost", "prompt_price", "answer_price"):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            optional = value is None and not name.endswith("price")
            if not optional and not (number and value >= 0):
                raise UsageError(f"Budget {name} is {value!r}: give a number from 0 on.")
        if self.cost is not None and not (self.prompt_price or self.answer_price):
            raise UsageError("A limit of cost needs a price: give prompt_price or answer_price.")

    @property
    def spent_tokens(self) -> int:
        """Tokens so far, of prompts and answers."""
        return self.spent.prompt + self.spent.answer

    @property
    def spent_cost(self) -> float:
        """Cost so far."""
        return self._price(self.spent)

    def _price(self, bill: Bill) -> float:
        return (bill.prompt * self.prompt_price + bill.answer * self.answer_price) / 1e6

    @contextmanager
    def request(self, prompt: int, answer: int) -> Iterator[Bill]:
        """Charge a request at its most, and at the bill's numbers when it is done.

        Raises
        ------
        BudgetExceeded : if it could go beyond a limit; nothing is charged then
        """
        most = Bill(prompt, answer)
        bill = Bill(prompt, answer)
        with self._lock:
            self._check(most)
            self.spent_requests += 1
            self.spent.prompt += prompt
            self.spent.answer += answer
        try:
            yield bill
        finally:
            with self._lock:
                self.spent.prompt += bill.prompt - most.prompt
                self.spent.answer += bill.answer - most.answer

    def _check(self, most: Bill) -> None:
        for name, spent, more, limit in (
            ("requests", self.spent_requests, 1, self.requests),
            ("tokens", self.spent_tokens, most.prompt + most.answer, self.tokens),
            ("cost", self.spent_cost, self._price(most), self.cost),
        ):
            if limit is not None and spent + more > limit * (1 + 1e-9):
                raise BudgetExceeded(
                    f"The budget allows {name} of {limit:g}. {spent:g} are spent, and the next "
                    f"request may take {more:g}: raise the limit, or ask for less (max_tokens)."
                )


# ------------------------------------------------------------------ the tasks


class Client:
    """Whatever answers messages. The six tasks are the same for all of them.

    The tasks take ``n``, the number of answers, and ``temperature``, and return answers as they
    came: `prompts.extract_code`, `prompts.extract_tests` and `prompts.extract_json` read them.
    """

    model: str = ""

    def ask(
        self, messages: Messages, n: int = 1, *, temperature: float | None = None, first: int = 0
    ) -> list[str]:
        """Return ``n`` answers, from number ``first`` on."""
        raise NotImplementedError

    def generate(self, problem: str, language: str, n: int = 1, **how: Any) -> list[str]:
        """Ask for programs that solve a problem; see `prompts.generation_prompt`."""
        return self.ask(prompts.generation_prompt(problem, language), n, **how)

    def correct(
        self, problem: str, code: str, feedback: Feedback, language: str,
        tests: Sequence[Test] = (), n: int = 1, **how: Any,
    ) -> list[str]:  # fmt: skip
        """Ask to correct a program; see `prompts.correction_prompt`."""
        asked = prompts.correction_prompt(problem, code, feedback, language, tests)
        return self.ask(asked, n, **how)

    def refine(
        self, problem: str, code: str, smells: Any, language: str, n: int = 1, **how: Any
    ) -> list[str]:
        """Ask to make a program easier to maintain; see `prompts.refinement_prompt`."""
        return self.ask(prompts.refinement_prompt(problem, code, smells, language), n, **how)

    def write_tests(
        self, problem: str, code: str, tests: Sequence[Test], gap: Any, language: str,
        n: int = 1, **how: Any,
    ) -> list[str]:  # fmt: skip
        """Ask for tests where none runs yet; see `prompts.unit_test_prompt`."""
        return self.ask(prompts.unit_test_prompt(problem, code, tests, gap, language), n, **how)

    def translate(
        self, code: str, source: str, target: str, tests: Sequence[Test] = (), outline: str = "",
        n: int = 1, **how: Any,
    ) -> list[str]:  # fmt: skip
        """Ask to translate a program; see `prompts.translation_prompt`."""
        asked = prompts.translation_prompt(code, source, target, tests, outline)
        return self.ask(asked, n, **how)

    def locate(self, code: str, findings: Any, language: str, n: int = 1, **how: Any) -> list[str]:
        """Ask which lines can be attacked; see `prompts.vulnerability_prompt`."""
        return self.ask(prompts.vulnerability_prompt(code, findings, language), n, **how)


# ------------------------------------------------------------------ a model behind an address


class Assistant(Client):
    """A model behind an address.

    Parameters
    ----------
    model : its name there
    address : ends in ``/v1`` for most servers; default: the variable OPENAI_BASE_URL
    key : default: the variable OPENAI_API_KEY, or none, which local servers take. It goes to the
        address, and nowhere else: it is in no message, no answer, no file, and not in `repr`.
    timeout : seconds for one request, from its start to the last byte
    retries : further tries after a server error, a busy server or a broken connection; each waits
        twice as long, or as long as the server says
    budget : see `Budget`
    temperature : 0 to 2
    max_tokens : of one answer
    seed : answer number i is asked for with ``seed + i``. Not every server heeds it.

    Raises
    ------
    UsageError : for settings that are out of range, or no address

    Examples
    --------
    >>> Assistant("qwen2.5-coder:1.5b", "http://localhost:11434/v1")
    Assistant('qwen2.5-coder:1.5b', 'http://localhost:11434/v1')
    """

    def __init__(
        self,
        model: str,
        address: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 2,
        budget: Budget | None = None,
        temperature: float = 0.2,
        max_tokens: int = 1024,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise UsageError("Give the name of a model, as the server calls it.")
        _between("timeout", timeout, 0.01, 86_400)
        _between("retries", retries, 0, 100, whole=True)
        _between("temperature", temperature, 0, 2)
        _between("max_tokens", max_tokens, 1, 1 << 24, whole=True)
        if seed is not None:
            _between("seed", seed, 0, (1 << 63) - 1, whole=True)
        self.model = model
        self.address = _address(address or os.environ.get("OPENAI_BASE_URL") or "")
        secret = _key(key or os.environ.get("OPENAI_API_KEY") or "none")
        self._key: Callable[[], str] = lambda: secret  # not in vars(), and not to be pickled
        self.timeout, self.retries = timeout, retries
        self.budget = budget or Budget()
        self.temperature, self.max_tokens, self.seed = temperature, max_tokens, seed

    def __repr__(self) -> str:
        return f"Assistant({self.model!r}, {self.address!r})"

    def ask(
        self, messages: Messages, n: int = 1, *, temperature: float | None = None, first: int = 0
    ) -> list[str]:
        """Return ``n`` answers to the messages, one request for each.

        Servers differ in whether they give several answers to one request.

        Parameters
        ----------
        first : number of the first answer, which only the seed depends on

        Raises
        ------
        Unreachable : if nothing answers at the address
        BudgetExceeded : before a request that could go beyond the budget
        TimedOut, KeyRefused, Refused, ServerError, BadAnswer : see there
        UsageError : for messages that are none

        All but the last have the answers so far in ``answers``.
        """
        _check(messages, n, first)
        warmth = self.temperature if temperature is None else temperature
        _between("temperature", warmth, 0, 2)
        try:
            import openai
        except ImportError:
            raise MissingError(
                "The package openai is not installed: install the book's packages again."
            ) from None
        answers: list[str] = []
        client = _Requests(openai, self, messages, warmth)
        try:
            _run(lambda: client.ask(range(first, first + n), answers))
        except AssistantError as error:
            error.answers = tuple(answers)
            raise
        return answers

    def _clean(self, text: str) -> str:
        """The text without the key, which a server could send back."""
        secret = self._key()
        # A shorter one is no secret but a filler, such as "none" or "EMPTY", and also a word.
        return text.replace(secret, "[key]") if len(secret) >= 8 else text

    def _said(self, text: str) -> str:
        return visible(" ".join(self._clean(text).split()))[:300] or "no message"


class _Refusal(Exception):
    """A status that is not success."""

    def __init__(self, status: int, pause: float, text: str) -> None:
        super().__init__(status)
        self.status, self.pause, self.text = status, pause, text


class _Again(Exception):
    """Worth another try, after a pause; ``error`` if there is none."""

    def __init__(self, error: AssistantError, pause: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.pause = error, pause


class _TooMuch(Exception):
    """More bytes than a response may have."""


class _Broken(Exception):
    """The connection ended before the response did."""


class _Requests:
    """The requests of one call of `Assistant.ask`."""

    def __init__(
        self, openai: Any, assistant: Assistant, messages: Messages, temperature: float
    ) -> None:
        self.openai, self.its = openai, assistant
        self.messages, self.temperature = messages, temperature
        # A token has at least one byte. A chat's format adds some of its own.
        self.most = 64 + sum(16 + len(m["content"].encode()) for m in messages)

    async def ask(self, numbers: Sequence[int], answers: list[str]) -> None:
        its = self.its
        http = self.openai.DefaultAsyncHttpxClient(
            event_hooks={"response": [self._refuse]},
            follow_redirects=False,  # the prompt goes where it was sent
            headers={"Accept-Encoding": "identity"},  # few bytes could unpack to many
            trust_env=urlsplit(its.address).hostname not in _LOCAL,  # no proxy to this machine
        )
        client = self.openai.AsyncOpenAI(
            base_url=its.address, api_key=its._key(), max_retries=0, http_client=http,
            timeout=self.openai.Timeout(its.timeout, connect=min(10.0, its.timeout)),
        )  # fmt: skip
        async with client:
            for number in numbers:
                answers.append(await self._one(client, number))

    async def _refuse(self, response: Any) -> None:
        """Called by the HTTP client with every response, before its body is read."""
        if response.is_success:
            return
        body = b""
        with suppress(_TooMuch, _Broken):
            body = await _read(response, _MAX_ERROR)
        try:
            pause = float(response.headers.get("retry-after", 0))
        except ValueError:
            pause = 0.0
        pause = pause if pause >= 0 else 0.0  # nan is not
        raise _Refusal(
            response.status_code, pause, self.its._clean(body.decode("utf-8", "replace"))
        )

    async def _one(self, client: Any, number: int) -> str:
        its = self.its
        for attempt in range(its.retries + 1):
            with its.budget.request(self.most, its.max_tokens) as bill:
                try:
                    return await self._attempt(client, number, bill)
                except _Again as again:
                    pause = max(again.pause, _PAUSE * 2**attempt)
                    if attempt == its.retries or pause > _LONGEST_PAUSE:
                        raise again.error from None
            await asyncio.sleep(pause)
        raise AssertionError

    async def _attempt(self, client: Any, number: int, bill: Bill) -> str:
        its, openai = self.its, self.openai
        seed = {} if its.seed is None else {"seed": its.seed + number}
        try:
            async with (
                asyncio.timeout(its.timeout),
                client.chat.completions.with_streaming_response.create(
                    model=its.model, messages=self.messages, temperature=self.temperature,
                    max_tokens=its.max_tokens, **seed,
                ) as response,
            ):  # fmt: skip
                body = await _read(response.http_response, MAX_BODY)
        except _Refusal as refusal:
            bill.prompt = bill.answer = 0
            raise self._refused(refusal) from None
        except _TooMuch:
            raise BadAnswer(
                f"{its.address} sends more than {MAX_BODY >> 20} MiB for one answer: this is no "
                "server for language models, or it has gone wrong."
            ) from None
        except (_Broken, openai.APIConnectionError, TimeoutError) as error:
            raise self._unanswered(error, bill) from None
        except openai.OpenAIError as error:
            raise Refused(
                f"The request to {its.address} was not made: {its._said(str(error))}."
            ) from None
        return self._text(body, bill)

    def _unanswered(self, error: Exception, bill: Bill) -> Exception:
        its = self.its
        cause = type(error.__cause__).__name__
        reason = its._said(str(error.__cause__ or error))
        if cause in ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"):
            bill.prompt = bill.answer = 0
            return Unreachable(
                f"No language model answers at {its.address} ({reason}). Start a server there, "
                "or set OPENAI_BASE_URL to the address of one, such as http://localhost:8000/v1."
            )
        if isinstance(error, TimeoutError | self.openai.APITimeoutError):
            return TimedOut(
                f"{its.address} has not answered within {its.timeout:g} s: give it more time "
                "(timeout), or ask for less (max_tokens)."
            )
        return _Again(
            ServerError(
                f"{its.address} broke the connection at each of {its.retries + 1} tries "
                f"({reason}). See what the server says, or try again later."
            )
        )

    def _refused(self, refusal: _Refusal) -> Exception:
        its, status = self.its, refusal.status
        said = f"{status}: {its._said(_message(refusal.text))}"
        if status in (401, 403):
            return KeyRefused(
                f"{its.address} refuses the key ({said}). Set OPENAI_API_KEY to one that it knows "
                f"and that may use {its.model!r}."
            )
        if status in (408, 409, 429) or status >= 500:
            wait = f" It asks to wait {refusal.pause:g} s." if refusal.pause else ""
            return _Again(
                ServerError(f"{its.address} fails or is too busy ({said}).{wait} Try again later."),
                refusal.pause,
            )
        if status == 404:
            return Refused(
                f"{its.address} has no model {its.model!r}, or no chat completions ({said}): check "
                "the name, and that the address is right to the end, which is often /v1."
            )
        if 300 <= status < 400:
            return Refused(f"{its.address} points elsewhere ({said}): give the address it has now.")
        return Refused(f"{its.address} does not take the request ({said}).")

    def _text(self, body: bytes, bill: Bill) -> str:
        its = self.its
        try:
            answer = json.loads(body)
            if not isinstance(answer, dict):
                raise TypeError
            if answer.get("error") and not answer.get("choices"):
                said = its._said(_message(body.decode("utf-8", "replace")))
                raise BadAnswer(f"{its.address} reports an error in its answer: {said}.")
            content = answer["choices"][0]["message"].get("content")
        except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
            begins = its._said(body[:200].decode("utf-8", "replace"))[:100]
            raise BadAnswer(
                f"{its.address} does not answer in the form of a chat completion. The answer "
                f"begins with: {begins}"
            ) from None
        usage = answer.get("usage")
        if isinstance(usage, dict):
            bill.prompt = _count(usage.get("prompt_tokens"), bill.prompt)
            bill.answer = _count(usage.get("completion_tokens"), bill.answer)
        if not isinstance(content, str) or not content.strip():
            raise BadAnswer(
                f"{its.model!r} gave an empty answer. A model that thinks first may need more "
                "max_tokens."
            )
        return its._clean(content)


async def _read(response: Any, most: int) -> bytes:
    """Read a body as it comes, and no more than ``most`` bytes."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise _Broken(f"it sends {encoding[:20]}, which was not asked for")
    parts: list[bytes] = []
    size = 0
    stream = response.aiter_raw()
    while True:
        try:
            part = await anext(stream)
        except StopAsyncIteration:
            return b"".join(parts)
        except Exception as error:  # whatever the HTTP library has for a broken connection
            if "Timeout" in type(error).__name__:
                raise TimeoutError from None
            raise _Broken(str(error) or type(error).__name__) from None
        size += len(part)
        if size > most:
            raise _TooMuch
        parts.append(part)


def _message(text: str) -> str:
    """The words of an error, wherever a server puts them."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    return found if isinstance(found, str) else json.dumps(found)


def _count(value: Any, otherwise: int) -> int:
    """A number of tokens that a server may have counted; else the bound."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1 << 40:
        return value
    return otherwise


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end in a thread of its own: a notebook's own thread has an event loop already."""
    running: list[tuple[asyncio.AbstractEventLoop, Any]] = []

    async def main() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        await work()

    with ThreadPoolExecutor(1, "assistant") as pool:
        future = pool.submit(lambda: asyncio.run(main()))
        try:
            future.result()
        except BaseException:
            if not future.done():  # the reader does not want to wait
                for loop, task in running:
                    with suppress(RuntimeError):
                        loop.call_soon_threadsafe(task.cancel)
            raise


def _address(text: str) -> str:
    if not text:
        raise UsageError(
            "No address of a language model: give address, or set OPENAI_BASE_URL, such as "
            "http://localhost:8000/v1. Without a server, use Recorded(path)."
        )
    try:
        parts = urlsplit(text)
        hidden = bool(parts.username or parts.password or parts.query or parts.fragment)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        hidden, usable = False, False
    if hidden:
        raise UsageError(
            "The address has more than a place in it: give a name, a password or a key as key or "
            "in OPENAI_API_KEY, since the address is shown."
        )
    if not usable or not (text.isprintable() and text.isascii()) or " " in text:
        raise UsageError(
            f"{visible(text)[:80]!r} is no address: give one such as http://localhost:8000/v1."
        )
    return text.rstrip("/")


def _key(text: str) -> str:
    text = text.strip()
    if not text or not all(33 <= ord(c) <= 126 for c in text):
        raise UsageError(
            "The key has characters that no key has, such as a blank or a line's end: set "
            "OPENAI_API_KEY again. It is not shown here."
        )
    return text


def _between(name: str, value: Any, least: float, most: float, whole: bool = False) -> None:
    number = isinstance(value, int if whole else Real) and not isinstance(value, bool)
    if not number or not least <= value <= most or not math.isfinite(value):
        raise UsageError(f"{name} is {str(value)[:60]}: give a number from {least} to {most}.")


def _check(messages: Messages, n: int, first: int) -> None:
    _between("n", n, 1, 100_000, whole=True)
    _between("first", first, 0, 1 << 40, whole=True)
    good = isinstance(messages, Sequence) and len(messages) > 0
    for message in messages if good else ():
        good = good and isinstance(message, Mapping) and set(message) == {"role", "content"}
        good = good and message["role"] in ("system", "user", "assistant")
        good = good and isinstance(message["content"], str)
    if not good:
        raise UsageError(
            "Messages are a list of {'role': 'system', 'user' or 'assistant', 'content': text}."
        )
    try:
        json.dumps(list(messages), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UsageError(
            "The messages hold half a character (a surrogate): put texts through "
            "prompts.fenced or prompts.visible."
        ) from None


# ------------------------------------------------------------------ recorded answers


def message_key(messages: Messages, temperature: float | None = None) -> str:
    """Return the hash under which answers to messages are recorded.

    The temperature counts only where a call gave it.
    """
    content: Any = [dict(message) for message in messages]
    if temperature is not None:
        content = [content, float(temperature)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Recorded(Client):
    """Recorded answers, for a run without a model. Nothing is computed: a new prompt is refused.

    Parameters
    ----------
    source : the path of a file that `Recorder` wrote; or a mapping of `message_key` to answers

    Raises
    ------
    MissingError : if there is no such file
    UsageError : if it is not a record
    """

    def __init__(self, source: str | Path | Mapping[str, Sequence[str]]) -> None:
        self.model = "recorded answers"
        self._entries: dict[str, dict[str, Any]] = {}
        if isinstance(source, Mapping):
            for key, answers in source.items():
                if isinstance(answers, str) or not all(isinstance(a, str) for a in answers):
                    raise UsageError("A record maps keys of messages to lists of answers.")
                self._entries[key] = {"answers": list(answers)}
        else:
            name, self._entries = _load(Path(source))
            self.model = f"recorded answers of {name}"

    @classmethod
    def of(cls, pairs: Sequence[tuple[Messages, Sequence[str]]]) -> Recorded:
        """Make a record of messages and answers, for example of some written by hand."""
        return cls({message_key(messages): answers for messages, answers in pairs})

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{self.model}: {len(self)} prompts>"

    def ask(
        self, messages: Messages, n: int = 1, *, temperature: float | None = None, first: int = 0
    ) -> list[str]:
        """Return recorded answers, the same at each call.

        Raises
        ------
        UsageError : for messages, or a number of answers, that were not recorded
        """
        _check(messages, n, first)
        key = message_key(messages, temperature)
        answers = self._entries.get(key, {"answers": []})["answers"]
        if len(answers) < first + n:
            raise UsageError(
                f"There are {len(answers)} recorded answers to this prompt ({key[:12]}), and "
                f"{first + n} are asked for. Ask a model (Assistant), or record its answers with "
                "Recorder(Assistant(…), path) and the same prompts."
            )
        return list(answers[first : first + n])


class Recorder(Client):
    """Asks another client, and keeps the answers in a file for `Recorded`.

    A prompt that is in the file already is not asked again, so that a run can be gone on with, and
    `Recorded` gives what this run got. The file has prompts and answers, and no key.

    Parameters
    ----------
    client : who is asked
    path : JSON file; written whole or not at all, after every call

    Raises
    ------
    UsageError : if the file is there and is not a record
    """

    def __init__(self, client: Client, path: str | Path) -> None:
        self.client, self.path = client, Path(path)
        self.model = client.model
        self._lock = threading.Lock()
        self._entries = _load(self.path)[1] if self.path.exists() else {}

    def ask(
        self, messages: Messages, n: int = 1, *, temperature: float | None = None, first: int = 0
    ) -> list[str]:
        """Return the answers of the file, and the client's where the file has too few.

        Raises
        ------
        MissingError : if the file cannot be written
        AssistantError : the client's; the answers so far are in the file
        """
        _check(messages, n, first)
        key = message_key(messages, temperature)
        with self._lock:
            have = list(self._entries.get(key, {"answers": []})["answers"])
            missing = first + n - len(have)
            if missing > 0:
                entry = {
                    "messages": [dict(m) for m in messages],
                    "temperature": temperature,
                    "answers": have,
                }
                try:
                    have += self.client.ask(
                        messages, missing, temperature=temperature, first=len(have)
                    )
                except AssistantError as error:
                    have += error.answers
                    error.answers = tuple(have[first:])
                    raise
                finally:
                    if have:
                        self._entries[key] = entry
                        self._write()
        return have[first : first + n]

    def _write(self) -> None:
        content = {"recorded answers of": self.model, "answers": self._entries}
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
            part.replace(self.path)
        except OSError as error:
            raise MissingError(
                f"The record {self.path.name} cannot be written ({error.strerror or error}): "
                "free some space, or give another file."
            ) from None
        finally:
            part.unlink(missing_ok=True)


def _load(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise MissingError(
            f"The record {path.name} cannot be read ({error.strerror or error}): write one with "
            "Recorder(Assistant(…), path)."
        ) from None
    except (ValueError, RecursionError):
        content = None
    try:
        entries = content["answers"]
        for key, entry in entries.items():
            if key != message_key(entry["messages"], entry["temperature"]) or not all(
                isinstance(answer, str) for answer in entry["answers"]
            ):
                raise ValueError
        return str(content["recorded answers of"]), dict(entries)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UsageError(
            f"{path.name} is not a record of answers, or was changed by hand: write it again with "
            "Recorder(Assistant(…), path)."
        ) from None
