"""Fetch one registered file: checked, retried, resumed, and written whole or not at all."""

from __future__ import annotations

import errno
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.project import MissingError

WAITS = (1.0, 2.0, 4.0)  # seconds before each new try
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces
LOCK_WAIT = 1800.0  # seconds to wait for another run that fetches the same set
SPARE = 16 * 2**20  # bytes that stay free on the disk
_CHUNK = 2**16


class OfflineError(MissingError):
    """The set's home cannot be reached."""


class StatusError(MissingError):
    """The set's home answers, but not with the file: it has moved, or refuses."""


class _PassingError(StatusError):
    """A refusal that may end by itself, such as 503: worth another try."""


class ChecksumError(MissingError):
    """A file is not the registered one: corrupt or altered."""


class TruncatedError(MissingError):
    """A file is shorter than registered."""


class SpaceError(MissingError):
    """The disk is too full."""


class AccessError(MissingError):
    """A folder or file may not be read or written."""


class BusyError(MissingError):
    """Another run holds the set's lock for too long."""


@dataclass(frozen=True)
class DataFile:
    """One file of a set.

    Attributes
    ----------
    url : pinned to a commit where its host has commits; else the checksum alone pins it
    sha256 : of the whole file, 64 hexadecimal digits
    bytes : its size
    """

    url: str
    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """In the folder of the set: what the address ends with, or all of it if it is a path."""
        return self.url.rsplit("/", 1)[-1] if "://" in self.url else self.url


def size(count: int) -> str:
    """Write a number of bytes for people: ``173.0 KiB``."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def check(path: Path, file: DataFile) -> None:
    """Compare a file on disk with its registered size and sha256.

    Raises
    ------
    TruncatedError, ChecksumError, AccessError : saying which file and what to do
    """
    from pooch import file_hash

    try:
        found = path.stat().st_size
        whole = found == file.bytes and file_hash(str(path)) == file.sha256
    except OSError as error:
        raise AccessError(
            f"{path} cannot be read ({error.strerror}): correct its rights."
        ) from None
    if found < file.bytes:
        raise TruncatedError(
            f"{path} is cut short: {found} of {file.bytes} bytes. Delete it, or copy it anew."
        )
    if not whole:
        raise ChecksumError(
            f"{path} is corrupt or altered: its sha256 is not {file.sha256}. "
            "Delete it, or copy it anew."
        )


def download(file: DataFile, folder: Path, set_name: str, home: str) -> Path:
    """Fetch a file into ``folder`` with pooch, one run at a time; a valid copy there is kept.

    An interrupted transfer leaves ``<name>.part``, which the next call continues where the server
    allows it. A progress bar shows on a terminal.
    """
    import filelock
    import pooch

    target = folder / file.name
    what = f"{file.name} of {set_name!r}"
    pooch.get_logger().setLevel("WARNING")  # its notes name paths, which outputs must not carry
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{file.name}.lock", timeout=LOCK_WAIT):
            store = pooch.create(
                path=folder,
                base_url="",
                registry={file.name: f"sha256:{file.sha256}"},
                urls={file.name: file.url},
                retry_if_failed=1,  # once more from the start, should a continued file not match
            )
            store.fetch(file.name, downloader=_Resuming(file, what, home))
    except filelock.Timeout:
        raise BusyError(
            f"Another run has been fetching {what} for {LOCK_WAIT / 60:.0f} minutes: wait for it "
            "to end, or end it, and try again."
        ) from None
    except ValueError:
        raise ChecksumError(
            f"What {file.url} sends is not the registered {what}: its sha256 is not "
            f"{file.sha256}. Nothing was kept. See {home} for a new version, or report it."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            target.with_name(f"{file.name}.part").unlink(missing_ok=True)
            raise _no_space(folder, file, what) from None
        raise AccessError(
            f"{folder} cannot be written ({error.strerror or error}), so {what} has no place: "
            "correct its rights, or set BOOK_CACHE to a folder of your own."
        ) from None
    return target


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _no_space(folder: Path, file: DataFile, what: str) -> SpaceError:
    return SpaceError(
        f"No space for {what}: it needs {size(file.bytes + SPARE)} free in {folder}. Free some, or "
        "set BOOK_CACHE to a folder on another disk."
    )


@dataclass(frozen=True)
class _Resuming:
    """A pooch downloader that continues ``<name>.part`` and tries again after a failure."""

    file: DataFile
    what: str
    home: str

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests
        import urllib3

        part = Path(str(output_file)).with_name(f"{self.file.name}.part")
        before = _length(part)
        if shutil.disk_usage(part.parent).free < self.file.bytes - before + SPARE:
            raise _no_space(part.parent, self.file, self.what)
        for wait in (*WAITS, None):
            failure: MissingError | None = None
            reason = "it sends nothing"
            try:
                self._continue(url, part)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = type(error).__name__
            except _PassingError as error:
                failure = error
            if _length(part) >= self.file.bytes:
                part.replace(output_file)
                return
            if wait is None:
                raise failure or self._cut(_length(part), before, reason)
            time.sleep(wait)

    def _continue(self, url: str, part: Path) -> None:
        """Append to ``part`` what is missing, or start again where the server has no ranges."""
        import requests
        from tqdm import tqdm

        have = _length(part)
        if have >= self.file.bytes:
            return
        # Identity: a range counts bytes of the file itself, not of a compressed transfer.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # our part does not fit their file
                part.unlink()
                return
            if response.status_code not in (200, 206):
                raise self._refused(url, response.status_code)
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0
            with (
                part.open("ab" if have else "wb") as out,
                tqdm(  # disable=None: off where there is no terminal, so outputs stay clean
                    total=self.file.bytes,
                    initial=have,
                    unit="B",
                    unit_scale=True,
                    unit_divisor=1024,
                    desc=self.file.name,
                    leave=None,  # below the bar of a set of many files it goes when it is full
                    disable=None,
                ) as bar,
            ):
                for piece in response.raw.stream(_CHUNK, decode_content=False):
                    out.write(piece)
                    bar.update(len(piece))
                    if out.tell() > self.file.bytes:  # not our file: the checksum will say so
                        break

    def _refused(self, url: str, status: int) -> StatusError:
        if status in (404, 410):
            return StatusError(
                f"{self.what} is no longer at {url} (HTTP {status}): its home has moved. Look at "
                f"{self.home}, and put the file in your BOOK_DATA folder."
            )
        kind = _PassingError if status == 429 or status >= 500 else StatusError
        return kind(
            f"{url} refuses {self.what} (HTTP {status}). Try later, or get it from {self.home} "
            "and put it in your BOOK_DATA folder."
        )

    def _cut(self, have: int, before: int, reason: str) -> MissingError:
        if have > before:
            return TruncatedError(
                f"The transfer of {self.what} stopped at {have} of {self.file.bytes} bytes. Run "
                "again to continue from there."
            )
        return OfflineError(f"{self.file.url} cannot be reached ({reason}).")
