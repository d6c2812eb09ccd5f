"""The languages of a container's image, found by asking the image itself."""

from __future__ import annotations

from collections.abc import Sequence

from .backends import Docker, Job
from .languages import LANGUAGES, Toolchain
from .records import MIB, Limits, SandboxError

# language -> its programs; the first is asked for its version
_PROGRAMS = {
    "python": ("python3",),
    "java": ("java", "javac"),
    "cpp": ("g++",),
    "csharp": ("mono", "mcs"),
    "bash": ("bash",),
    "go": ("go",),
    "javascript": ("node",),
    "typescript": ("node", "tsc"),
    "c": ("gcc",),
    "ruby": ("ruby",),
    "rust": ("rustc", "cc"),
}
_ASK = r"""
for row in "$@"; do
    set -- $row
    code=$1 found=
    shift
    for name in "$@"; do
        path=$(command -v "$name") || continue 2
        [ "$name" = tsc ] && path=$(readlink -f "$path")
        found="$found$name=$path "
    done
    case $code in
    go) said=$(go version 2>&1) ;;
    typescript)
        types=${found##*tsc=}
        types=${types%/typescript/bin/tsc *}/@types
        [ -d "$types/node" ] || continue
        found="${found}types=$types "
        said=$(tsc --version 2>&1)
        ;;
    *) said=$("$1" --version 2>&1) ;;
    esac
    printf '%s\t%s\t%s\n' "$code" "$found" "$(printf '%s\n' "$said" | head -n 1)"
done
"""


def toolchains(backend: Docker, codes: Sequence[str]) -> dict[str, Toolchain | str]:
    """Return for each language its toolchain in the image, or ``not available: …``.

    Raises
    ------
    SandboxError : if the image cannot be asked
    """
    rows = [" ".join((code, *_PROGRAMS[code])) for code in codes if code in _PROGRAMS]
    ran = backend.run(
        Job(
            ["sh", "-c", _ASK, "sh", *rows],
            limits=Limits(
                cpu_seconds=30,
                wall_seconds=60,
                memory_bytes=2048 * MIB,
                processes=256,
                open_files=1024,
            ),
            address_space=False,
        )
    )
    if ran.problem or ran.killed_for:
        reason = ran.problem or ran.killed_for
        raise SandboxError(f"The image {backend.image} cannot be asked: {reason}.")
    found: dict[str, Toolchain | str] = {}
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        code, programs, version = line.split("\t", 2)
        named = dict(part.split("=", 1) for part in programs.split())
        found[code] = Toolchain(named, f"{version} (image {backend.image})")
    missing = f"not available: use an image with it; {backend.image} has"
    return {code: found.get(code, f"{missing} no {LANGUAGES[code].title}") for code in codes}
