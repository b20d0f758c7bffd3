#!/bin/sh
# Make the virtual environment .venv from pinned requirements; each thing that may be missing on a
# bare machine is told in one sentence.
# usage: envs/install.sh requirements.txt…
set -u
cd "$(dirname "$0")/.." || exit 1

fail() {
    echo "ERROR: $1" >&2
    exit 1
}

# PYTHON may name an interpreter; else the first suitable one is taken. The pinned packages have
# wheels for 3.11 to 3.13.
python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed; found $(${PYTHON:-python3} --version 2>&1 | head -n 1). Install it, or name one: make run PYTHON=/path/to/python3.12"

# One that was cut off while it was made has no pip.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "Python's venv module is missing. Install it (Debian, Ubuntu: apt install python3-venv), then run this again."
    "$python" -m venv --clear .venv || fail "The virtual environment .venv could not be made; see above."
fi

echo "Installing the packages of $* into .venv; the first time this takes a minute or two." >&2
set -- $(printf -- '-r %s ' "$@")
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt "$@"; then
    rm -f .venv/.installed*
    fail "The packages could not be installed (see above): is there a network, and a package index that pip can reach?"
fi
