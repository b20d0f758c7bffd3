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

# PYTHON may name an interpreter; else the newest suitable one is taken.
python=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 or newer is needed; found $(${PYTHON:-python3} --version 2>&1 | head -n 1). Install it, or name one: make run PYTHON=/path/to/python3.12"

if [ ! -x .venv/bin/python ]; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "Python's venv module is missing. Install it (Debian, Ubuntu: apt install python3-venv), then run this again."
    "$python" -m venv .venv || fail "The virtual environment .venv could not be made; see above."
fi

set -- $(printf -- '-r %s ' "$@")
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt "$@"; then
    rm -f .venv/.installed*
    fail "The packages could not be installed (see above): is there a network, and a package index that pip can reach?"
fi
