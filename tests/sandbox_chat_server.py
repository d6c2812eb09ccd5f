"""Servers for the tests of language models: one with a tiny model, and one that misbehaves.

Real processes that speak HTTP on the loopback interface. Each ends with the process that started
it: it reads its standard input to the end.

    python sandbox_chat_server.py FOLDER      the model that `save` wrote there
    python sandbox_chat_server.py --moods     http://127.0.0.1:PORT/MOOD/v1, see MOODS
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWER = "```python\nprint(sum(map(int, input().split())))\n```"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")


# ------------------------------------------------------------------ a tiny model


def tokenizer() -> Any:
    """One token for each byte, an end, a filler, and a mark for each role of a chat."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        extra_special_tokens=list(ROLES),
        padding_side="left",
    )
    made.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return made


def model(kind: str = "llama", width: int = 32, seed: int = 0) -> Any:
    """A causal language model of two layers with random weights, for `tokenizer`.

    The kinds are ``gpt2``, which adds positions to tokens; ``llama``, which turns queries and keys
    by them; and ``mistral``, which turns them, too, and looks back by 6 tokens only.
    """
    import torch
    import transformers as library

    known = tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(known),
        "bos_token_id": None,
        "eos_token_id": known.eos_token_id,
        "pad_token_id": known.pad_token_id,
    }
    classes = {
        "gpt2": (library.GPT2LMHeadModel, library.GPT2Config),
        "llama": (library.LlamaForCausalLM, library.LlamaConfig),
        "mistral": (library.MistralForCausalLM, library.MistralConfig),
    }
    if kind == "gpt2":
        settings |= {"n_embd": width, "n_layer": 2, "n_head": 4, "n_positions": 256}
    else:
        settings |= {"hidden_size": width, "intermediate_size": 2 * width}
        settings |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        settings |= {"max_position_embeddings": 8192, "tie_word_embeddings": False}
    if kind == "mistral":
        settings["sliding_window"] = 6
    made, config = classes[kind]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return made(config(**settings)).eval()


def teach(made: Any, answer: str = ANSWER, steps: int = 100) -> None:
    """Train a model to answer whatever it is asked with one text, a new line and any digit."""
    import torch

    known = tokenizer()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, small tensors wait for the others
    source = torch.Generator().manual_seed(0)
    said = torch.tensor(known(f"<|assistant|>{answer}\n0<|end|>")["input_ids"])
    digits = torch.tensor(known("0123456789")["input_ids"])
    optimiser = torch.optim.AdamW(made.parameters())
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.01 * min(1, (step + 1) / 10) * (1 - step / steps)
        asked = torch.randint(0, 256, (8, 16), generator=source)
        ids = torch.cat([asked, said.expand(8, -1)], 1)
        ids[:, -2] = digits[torch.randint(0, 10, (8,), generator=source)]
        labels = ids.clone()
        labels[:, :17] = -100
        loss = made(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimiser.step()
    made.eval()
    torch.set_num_threads(threads)


def save(folder: Path) -> None:
    """Write a tiny model that answers `ANSWER` and a digit, and its tokenizer."""
    made = model("mistral", width=64)
    teach(made)
    made.generation_config.do_sample = True  # `transformers serve` heeds no temperature without
    made.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def serve_model(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function of a request's body that answers by generation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    known = AutoTokenizer.from_pretrained(folder)
    made = AutoModelForCausalLM.from_pretrained(folder).eval()
    busy = threading.Lock()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        fed = known.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        warmth = float(body.get("temperature", 1.0))
        how = {"do_sample": True, "temperature": warmth, "top_k": 0} if warmth else {}
        with busy, torch.no_grad():
            torch.manual_seed(int(body.get("seed", 0)))
            out = made.generate(**fed, max_new_tokens=int(body.get("max_tokens", 64)), **how)
        new = out[0, fed["input_ids"].shape[1] :]
        text = known.decode(new, skip_special_tokens=True)
        return completion(text, fed["input_ids"].shape[1], len(new))

    return answer


# ------------------------------------------------------------------ moods


def completion(text: Any, prompt: Any = 7, tokens: Any = 3) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": tokens},
    }


class Handler(BaseHTTPRequestHandler):
    """Answers by a model, or by the mood in the path. Keeps what each mood was sent."""

    protocol_version = "HTTP/1.1"
    by_model: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    kept: dict[str, list[dict[str, Any]]] = {}  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        mood = self.path.strip("/").split("/")[0]
        self.reply(self.kept.get(mood, []))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        body = json.loads(raw)
        if self.by_model is not None:
            self.reply(type(self).by_model(body))  # type: ignore[misc]
            return
        mood = self.path.strip("/").split("/")[0]
        sent = self.kept.setdefault(mood, [])
        sent.append({"body": body, "headers": {k.lower(): v for k, v in self.headers.items()}})
        self.body, self.times = body, len(sent)
        with suppress(ConnectionError, BrokenPipeError):
            MOODS[mood](self)

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def stream(self, part: bytes, pause: float = 0.0, status: int = 200) -> None:
        """Send the part again and again, until the other side has enough (or 30 s are over)."""
        self.close_connection = True
        self.send_response(status)
        self.end_headers()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            self.wfile.write(part)
            time.sleep(pause)

    def drip_headers(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(300):
            self.wfile.write(f"X-{number}: a\r\n".encode())
            time.sleep(0.1)

    def cut_off(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')

    def hang_up(self) -> None:
        self.close_connection = True

    def good(self) -> None:
        self.reply(completion(f"answer {self.body.get('seed')}"))

    def good_from(self, number: int, otherwise: Callable[[], None]) -> None:
        self.good() if self.times >= number else otherwise()


def _error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "error"}}


MOODS: dict[str, Callable[[Handler], None]] = {
    "good": Handler.good,
    "slow": lambda h: time.sleep(30),
    "drip": lambda h: h.stream(b" ", 0.1),
    "drip-headers": Handler.drip_headers,
    "fails": lambda h: h.reply(_error("out of memory"), 500),
    "fails-twice": lambda h: h.good_from(3, lambda: h.reply(_error("loading"), 503)),
    "busy": lambda h: h.good_from(2, lambda: h.reply(_error("busy"), 429, Retry_After="0.4")),
    "busy-for-long": lambda h: h.reply(_error("busy"), 429, Retry_After="3600"),
    "busy-for-nan": lambda h: h.reply(_error("busy"), 429, Retry_After="nan"),
    "key": lambda h: h.reply(_error(f"no such key: {h.headers['authorization']}"), 401),
    "forbidden": lambda h: h.reply(_error("not for you"), 403),
    "no-model": lambda h: h.reply({"detail": "no such model"}, 404),
    "bad-request": lambda h: h.reply(_error("max_tokens\x1b[31m is too large\u202e"), 400),
    "elsewhere": lambda h: h.reply(b"", 307, Location="/elsewhere-target/v1/chat/completions"),
    "html": lambda h: h.reply(b"<html>Welcome \x1b[2J to nginx</html>"),
    "list": lambda h: h.reply([1]),
    "no-choices": lambda h: h.reply({"object": "chat.completion"}),
    "empty-choices": lambda h: h.reply({"choices": []}),
    "odd-choices": lambda h: h.reply({"choices": {"0": 1}}),
    "null-message": lambda h: h.reply({"choices": [{"message": None}]}),
    "deep": lambda h: h.reply(b"[" * 200_000),
    "not-utf8": lambda h: h.reply(b'{"choices": "\xff"}'),
    "error-inside": lambda h: h.reply(_error("the model crashed")),
    "no-text": lambda h: h.reply(completion(None)),
    "blank": lambda h: h.reply(completion(" \n ")),
    "parts": lambda h: h.reply(completion([{"type": "text", "text": "x"}])),
    "endless": lambda h: h.stream(b"x" * 65536),
    "endless-error": lambda h: h.stream(b"x" * 65536, status=500),
    "bomb": lambda h: h.reply(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
    "hangs-up": Handler.hang_up,
    "hangs-up-once": lambda h: h.good_from(2, h.hang_up),
    "cut-off": Handler.cut_off,
    "tells-key": lambda h: h.reply(completion(f"your key is {h.headers['authorization']}")),
    "lies": lambda h: h.reply(completion("answer", -5, True)),
    "no-usage": lambda h: h.reply(completion("answer") | {"usage": None}),
    "second-fails": lambda h: h.good() if h.times == 1 else h.reply(_error("gone"), 400),
}


@contextmanager
def running(*arguments: str, seconds: float = 90) -> Iterator[str]:
    """Run a server process; yields ``http://127.0.0.1:PORT``."""
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        timer.cancel()
        assert port.isdigit(), "the server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def _main() -> None:
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    if sys.argv[1] != "--moods":
        Handler.by_model = staticmethod(serve_model(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _main()
