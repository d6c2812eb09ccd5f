#!/bin/sh
# Find a Python the book runs on and install with it:  sh tools/install.sh book [test] [lab]
# PYTHON names the interpreter; without it, python3 is tried first, then the versioned names.

here=$(dirname "$0")

# suits PROGRAM [CODE]: is it Python 3.11 to 3.13, and does CODE run in it?
suits() {
    "$1" -c "import sys; assert (3, 11) <= sys.version_info[:2] < (3, 14); ${2:-pass}" >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    if ! command -v "$PYTHON" >/dev/null 2>&1; then
        echo "Cannot install: PYTHON is set to '$PYTHON', which is not a program here." >&2
        exit 3
    fi
    if ! suits "$PYTHON"; then
        version=$("$PYTHON" --version 2>&1 | head -n 1)
        echo "Cannot install: the book needs Python 3.11, 3.12 or 3.13, and PYTHON='$PYTHON' is ${version:-broken}." >&2
        exit 3
    fi
    exec "$PYTHON" "$here/install.py" --chosen "$@"
fi

# Prefer an interpreter that can make virtual environments; one that cannot gets a clear message.
for code in "import ensurepip, venv" "pass"; do
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if suits "$candidate" "$code"; then
            exec "$candidate" "$here/install.py" "$@"
        fi
    done
done

found=$(python3 --version 2>/dev/null || python --version 2>/dev/null || echo "no Python")
echo "Cannot install: the book needs Python 3.11, 3.12 or 3.13 and found $found; install one, or name it: PYTHON=/path/to/python3.12 make book" >&2
exit 3
