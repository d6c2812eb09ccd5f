"""Downloads: against a small web server that behaves well, badly, or not at all."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import filelock
import pooch
import pytest
import requests  # imported before any test changes the user id

from helpers.data import download, registry
from helpers.data.download import (
    AccessError,
    BusyError,
    ChecksumError,
    DataFile,
    OfflineError,
    SpaceError,
    StatusError,
    TruncatedError,
)
from helpers.project import MissingError, UsageError

CONTENT = bytes(range(256)) * 1200  # 300 KiB: several pieces of a transfer


class Server:
    """What the next requests get, and what they asked for."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.ranges = True  # honours Range
        self.cuts: list[int] = []  # each request so far unserved stops after so many bytes
        self.statuses: list[int] = []  # each request so far unserved gets this status
        self.pause = 0.0
        self.asked: list[str | None] = []  # Range header of each request
        self.url = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            if server.statuses and (status := server.statuses.pop(0)) != 200:
                self.send_error(status)
                return
            time.sleep(server.pause)
            start = int(wanted[6:-1]) if wanted and server.ranges else 0
            if start >= len(server.content):
                self.send_error(416)
                return
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                end, whole = len(server.content) - 1, len(server.content)
                self.send_header("Content-Range", f"bytes {start}-{end}/{whole}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server()
    web = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{web.server_port}/toy.bin"
    yield state
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An empty mirror and an empty cache; waits take no time."""
    found = SimpleNamespace(mirror=tmp_path / "lab mirror", cache=tmp_path / "my cache")
    found.mirror.mkdir()
    monkeypatch.setenv("BOOK_DATA", str(found.mirror))
    monkeypatch.setenv("BOOK_CACHE", str(found.cache))
    monkeypatch.setattr(download, "WAITS", (0, 0))
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _: None))
    return found


@pytest.fixture
def toy(server: Server, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> DataFile:
    """A registered set of one file, whose home is the server."""
    file = DataFile(server.url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    row = registry.DataSet(
        "toy", "A toy", "text", (file,), "none", "nobody", "http://home.example", "", "toys"
    )
    monkeypatch.setitem(registry.DATASETS, "toy", row)
    return file


def _left(folders: SimpleNamespace) -> set[str]:
    """Names of the files in the cache, apart from locks."""
    names = {p.name for p in folders.cache.rglob("*") if p.is_file()}
    return {n for n in names if not n.endswith(".lock")}


def _place(root: Path, content: bytes) -> Path:
    path = root / "toys" / "toy.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_download_is_whole_and_happens_once(
    toy: DataFile, server: Server, folders: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    notes: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    pooch.get_logger().setLevel("INFO")
    pooch.get_logger().addHandler(handler)
    for _ in range(2):
        path = registry.fetch("toy")["toy.bin"]
        assert path == folders.cache / "toys" / "toy.bin"
        assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert _left(folders) == {"toy.bin"}
    pooch.get_logger().removeHandler(handler)
    # nothing that would end up in a notebook's outputs
    assert notes == []
    assert capfd.readouterr() == ("", "")


def test_the_mirror_comes_first(toy: DataFile, server: Server, folders: SimpleNamespace) -> None:
    path = _place(folders.mirror, CONTENT)
    _place(folders.cache, CONTENT)
    assert registry.fetch("toy") == {"toy.bin": path}
    assert server.asked == []


def test_the_cache_serves_without_a_mirror(
    toy: DataFile, server: Server, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOOK_DATA")
    path = _place(folders.cache, CONTENT)
    assert registry.fetch("toy") == {"toy.bin": path}
    assert server.asked == []


def test_a_cut_transfer_is_continued(
    toy: DataFile, server: Server, folders: SimpleNamespace
) -> None:
    server.cuts = [100_000, 50_000]
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT
    first, *later = server.asked
    assert first is None
    starts = [int(re.fullmatch(r"bytes=(\d+)-", r or "").group(1)) for r in later]  # type: ignore[union-attr]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] <= 150_000
    assert _left(folders) == {"toy.bin"}


def test_the_next_call_continues_an_interrupted_one(
    toy: DataFile, server: Server, folders: SimpleNamespace
) -> None:
    server.cuts = [100_000, 0, 0]
    with pytest.raises(TruncatedError, match=rf"of {len(CONTENT)} bytes\. Run again to continue"):
        registry.fetch("toy")
    assert _left(folders) == {"toy.bin.part"}
    have = (folders.cache / "toys" / "toy.bin.part").stat().st_size
    server.asked.clear()
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]


def test_a_server_without_ranges_sends_all_again(
    toy: DataFile, server: Server, folders: SimpleNamespace
) -> None:
    server.ranges = False
    server.cuts = [100_000]
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_leftover_of_another_file_is_not_kept(
    toy: DataFile, server: Server, folders: SimpleNamespace
) -> None:
    part = folders.cache / "toys" / "toy.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"other" * 1000)  # continued, found wrong, and fetched again from the start
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT
    assert server.asked == ["bytes=5000-", None]


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"!", CONTENT + b"more" * 100_000], ids=["altered", "longer"]
)
def test_wrong_content_is_refused(
    toy: DataFile, server: Server, folders: SimpleNamespace, content: bytes
) -> None:
    server.content = content
    with pytest.raises(ChecksumError, match=r"toy\.bin of 'toy'.*Nothing was kept"):
        registry.fetch("toy")
    assert _left(folders) == set()


def test_shorter_content_is_truncated(
    toy: DataFile, server: Server, folders: SimpleNamespace
) -> None:
    server.content = CONTENT[:1000]
    with pytest.raises(TruncatedError, match=rf"1000 of {len(CONTENT)}"):
        registry.fetch("toy")
    assert not (folders.cache / "toys" / "toy.bin").exists()


def test_a_leftover_longer_than_the_homes_file(
    toy: DataFile, server: Server, folders: SimpleNamespace
) -> None:
    part = folders.cache / "toys" / "toy.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"other" * 1000)
    server.content = CONTENT[:1000]
    with pytest.raises((TruncatedError, OfflineError)):
        registry.fetch("toy")
    assert server.asked[:2] == ["bytes=5000-", None]


def test_an_endless_transfer_is_stopped(
    toy: DataFile, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = CONTENT * 40
    lengths = []
    replace = Path.replace

    def measured(self: Path, target: object) -> Path:
        lengths.append(self.stat().st_size)
        return replace(self, target)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "replace", measured)
    with pytest.raises(ChecksumError):
        registry.fetch("toy")
    assert lengths
    assert max(lengths) < 2 * len(CONTENT)


def test_an_interruption_keeps_the_part_only(
    toy: DataFile, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tqdm.tqdm.update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            registry.fetch("toy")
    assert _left(folders) == {"toy.bin.part"}
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 410])
def test_a_moved_home(toy: DataFile, server: Server, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(StatusError, match=rf"HTTP {status}\): its home has moved.*home\.example"):
        registry.fetch("toy")
    assert len(server.asked) == 1  # asking again would not help


def test_a_refusal_is_final_and_an_overload_is_not(toy: DataFile, server: Server) -> None:
    server.statuses = [403]
    with pytest.raises(StatusError, match="HTTP 403"):
        registry.fetch("toy")
    server.statuses = [503, 429, 200]
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT
    assert len(server.asked) == 4


def test_an_overload_that_stays(toy: DataFile, server: Server) -> None:
    server.statuses = [503] * 9
    with pytest.raises(StatusError, match="HTTP 503"):
        registry.fetch("toy")
    assert len(server.asked) == 1 + len(download.WAITS)


def _cut_off(toy: DataFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the set a home where nobody answers."""
    row = registry.DATASETS["toy"]
    away = dataclasses.replace(toy, url="http://127.0.0.1:9/toy.bin")
    monkeypatch.setitem(registry.DATASETS, "toy", dataclasses.replace(row, files=(away,)))


def test_no_network_and_no_mirror(
    toy: DataFile, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut_off(toy, monkeypatch)
    with pytest.raises(OfflineError) as caught:
        registry.fetch("toy")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("'toy'", "300.0 KiB", "http://home.example", "BOOK_DATA", "toys/toy.bin"):
        assert part in message
    assert str(folders.mirror / "toys") in message  # the mirror was asked too
    monkeypatch.delenv("BOOK_DATA")
    with pytest.raises(OfflineError, match="BOOK_DATA is not set"):
        registry.fetch("toy")
    assert _left(folders) == set()
    part = folders.cache / "toys" / "toy.bin.part"
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(OfflineError):
        registry.fetch("toy")
    assert part.read_bytes() == CONTENT[:1000]  # for the day the network is back
    assert OfflineError.exit_code == MissingError.exit_code == 3


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("brain-92-images", ("4.0 MiB", "https://github.com/rsagroup/rsatoolbox")),
        ("spoken-digits", ("4.0 MiB", "Jakobovski/free-spoken-digit-dataset", "fsdd-subset/")),
    ],
)
def test_a_missing_set_is_named_with_size_and_home(
    name: str, parts: tuple[str, ...], folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", fail)
    with pytest.raises(OfflineError) as caught:
        registry.fetch(name)
    for part in (repr(name), "BOOK_DATA", *parts):
        assert part in str(caught.value)


# --- a set of many files, and its archive ---------------------------------------------------------


@pytest.fixture
def many(toy: DataFile, monkeypatch: pytest.MonkeyPatch) -> registry.DataSet:
    """The same set with twelve files of the same content, and with an archive."""
    home = toy.url.rsplit("/", 1)[0]
    files = tuple(dataclasses.replace(toy, url=f"{home}/{i}.bin") for i in range(12))
    archive = dataclasses.replace(toy, url="all.zip")
    row = dataclasses.replace(registry.DATASETS["toy"], files=files, archive=archive)
    monkeypatch.setitem(registry.DATASETS, "toy", row)
    return row


def test_many_files_come_one_by_one_without_an_archive(
    many: registry.DataSet, server: Server, folders: SimpleNamespace, capfd
) -> None:
    found = registry.fetch("toy")
    assert list(found) == [f"{i}.bin" for i in range(12)]
    assert all(path.read_bytes() == CONTENT for path in found.values())
    assert len(server.asked) == 12
    assert registry.fetch("toy") == found
    assert len(server.asked) == 12
    assert _status("toy", verify=True).where == "cache"
    assert capfd.readouterr() == ("", "")  # no terminal, no bars


@pytest.mark.parametrize("where", ["mirror", "cache"])
def test_an_archive_is_taken_in_place_of_the_files(
    many: registry.DataSet, server: Server, folders: SimpleNamespace, where: str
) -> None:
    path = _place(getattr(folders, where), CONTENT).rename(
        getattr(folders, where) / "toys" / "all.zip"
    )
    assert registry.fetch("toy") == {"all.zip": path}
    assert server.asked == []
    (status,) = registry.verify("toy")
    assert (status.where, status.verified) == (where, True)
    path.write_bytes(CONTENT[:-5])
    with pytest.raises(TruncatedError, match="cut short"):
        registry.fetch("toy")
    (status,) = registry.verify("toy")
    assert (status.where, status.verified) == (where, False)
    assert server.asked == []


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (CONTENT[:-5], TruncatedError, "cut short: 307195 of 307200 bytes. Delete it"),
        (b"x" + CONTENT[1:], ChecksumError, "corrupt or altered"),
        (CONTENT + b"x", ChecksumError, "corrupt or altered"),
    ],
    ids=["truncated", "altered", "longer"],
)
def test_a_broken_mirror_is_reported(
    toy: DataFile,
    server: Server,
    folders: SimpleNamespace,
    content: bytes,
    error: type[Exception],
    words: str,
) -> None:
    path = _place(folders.mirror, content)
    with pytest.raises(error, match=re.escape(words)) as caught:
        registry.fetch("toy")
    assert str(path) in str(caught.value)
    assert server.asked == []
    assert path.read_bytes() == content  # somebody else's file stays as it is


def test_a_broken_cache_is_fetched_again(
    toy: DataFile, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _place(folders.cache, CONTENT[:-5])
    assert registry.fetch("toy")["toy.bin"].read_bytes() == CONTENT
    path.write_bytes(CONTENT[:-5])
    _cut_off(toy, monkeypatch)
    with pytest.raises(OfflineError, match="damaged in the cache"):
        registry.fetch("toy")


def test_no_space_is_seen_before_anything_is_asked(
    toy: DataFile, server: Server, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(free=len(CONTENT))  # fits, but would leave the disk full
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(SpaceError, match=r"needs 16\.3 MiB free in .*BOOK_CACHE"):
        registry.fetch("toy")
    assert server.asked == []
    assert _left(folders) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_keeps_nothing(toy: DataFile, folders: SimpleNamespace) -> None:
    part = folders.cache / "toys" / "toy.bin.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=r"No space for toy\.bin"):
        registry.fetch("toy")
    assert not part.is_symlink()
    assert _left(folders) == set()


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that this process may not write; root becomes an ordinary user meanwhile."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_cache_that_may_not_be_written(
    toy: DataFile, locked_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOOK_DATA")
    monkeypatch.setenv("BOOK_CACHE", str(locked_folder / "cache"))
    with pytest.raises(AccessError, match=r"Permission denied.*BOOK_CACHE"):
        registry.fetch("toy")


def test_a_cache_below_a_file(
    toy: DataFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BOOK_CACHE", str(tmp_path / "file"))
    with pytest.raises(AccessError, match="cannot be written"):
        registry.fetch("toy")


def test_other_system_errors_keep_their_reason(
    toy: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(pooch, "create", fail)
    with pytest.raises(AccessError, match="Read-only file system"):
        registry.fetch("toy")


def test_two_runs_fetch_once(toy: DataFile, server: Server) -> None:
    server.pause = 0.2
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(registry.fetch("toy")["toy.bin"].read_bytes()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [CONTENT, CONTENT]
    assert len(server.asked) == 1


def test_a_lock_that_is_never_given_back(
    toy: DataFile, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LOCK_WAIT", 0.05)
    (folders.cache / "toys").mkdir(parents=True)
    held = filelock.FileLock(folders.cache / "toys" / ".toy.bin.lock")
    with held, pytest.raises(BusyError, match="Another run"):
        registry.fetch("toy")


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'mnist'\?.*fashion-mnist"):
        registry.fetch("minst")
    with pytest.raises(UsageError):
        registry.verify("nothing like it")


def _status(name: str, verify: bool = False) -> registry.Status:
    return next(row for row in registry.status(verify) if row.name == name)


def test_status_says_where_and_whether_whole(toy: DataFile, folders: SimpleNamespace) -> None:
    assert _status("toy").where == "not here"
    assert _status("toy", verify=True).verified is None
    path = _place(folders.cache, CONTENT)
    assert (_status("toy").where, _status("toy").verified) == ("cache", None)
    assert registry.verify("toy")[0].verified is True
    path.write_bytes(b"x" + CONTENT[1:])
    (broken,) = registry.verify("toy")
    assert broken.verified is False
    assert "corrupt" in broken.problem
    _place(folders.mirror, CONTENT)
    assert _status("toy").where == "mirror"
    assert [row.name for row in registry.status()] == list(registry.DATASETS)


def test_a_set_that_is_here_in_part(folders: SimpleNamespace) -> None:
    folder = folders.mirror / "mr"
    folder.mkdir()
    (folder / "rt-polarity.neg").write_bytes(b"")
    assert _status("mr").where == "in part"


# The second address is for big files, of which the first has only a note where they are.
PINNED = (
    r"https://(raw\.githubusercontent\.com/[^/]+/[^/]+|github\.com/[^/]+/[^/]+/raw"
    r"|huggingface\.co/datasets/[^/]+/[^/]+/resolve)/[0-9a-f]{40}/.+"
)


@pytest.mark.parametrize("row", registry.DATASETS.values(), ids=lambda row: row.name)
def test_every_row_is_complete(row: registry.DataSet) -> None:
    for text in (row.title, row.licence, row.citation, row.note):
        assert len(text) >= 3
    assert re.match(r"https?://", row.home)
    assert re.search(r"\b(19|20)\d\d\b", row.citation)
    assert row.files
    for file in row.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.bytes > 0
        assert file.url.startswith("https://")
        if row.name not in ("mnist", "cifar10", "scifact"):  # no commits there, but checksums
            assert re.fullmatch(PINNED, file.url)
    assert len({file.name for file in row.files}) == len(row.files)
    assert not (row.archive and row.unpacked)
    for file in row.in_their_place:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.bytes > 0
        assert "://" not in file.url
        assert file.name not in {file.name for file in row.files}


def test_the_registry_holds_the_books_sets() -> None:
    wanted = "mnist fashion-mnist cifar10 exchange-rate ett-h1 los-loop metr-la pems-bay "
    wanted += "solar-energy electricity tiny-shakespeare mr sst-2 subj chnsenticorp waimai "
    wanted += "spoken-digits brain-92-images"
    assert set(wanted.split()) <= set(registry.DATASETS)


@pytest.mark.skipif(not os.environ.get("BOOK_DATA"), reason="BOOK_DATA names no mirror")
def test_the_mirrors_files_are_the_registered_ones() -> None:
    here = [row for row in registry.verify() if row.where != "not here"]
    assert here
    assert [row.problem for row in here if row.problem] == []


def test_sizes_read_well() -> None:
    assert [download.size(n) for n in (0, 1023, 177_142, 170_498_071, 3 * 2**30)] == [
        "0 bytes",
        "1023 bytes",
        "173.0 KiB",
        "162.6 MiB",
        "3.0 GiB",
    ]
