#!/bin/sh
# Make the virtual environment .venv-lightautoml, for sources of the family lightautoml.
# usage: envs/lightautoml.sh
# PyTorch's CPU build is enough; where pip's index has only the large one, name PyTorch's own index for
# it in PIP_EXTRA_INDEX_URL.
set -u
cd "$(dirname "$0")/.." || exit 1
venv=.venv-lightautoml

fail() {
    echo "ERROR: $1" >&2
    exit 1
}

# PYTHON may name an interpreter. The pins are tried with 3.11.
python=
for candidate in ${PYTHON:-python3.11 python3}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 is needed for LightAutoML. Install it, or name one: make lightautoml PYTHON=/path/to/python3.11"

# One that was cut off while it was made has no pip.
if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear $venv ||
        fail "The virtual environment $venv could not be made; see above. On Debian and Ubuntu: apt install python3-venv"
fi

echo "Installing LightAutoML and what it needs into $venv; this takes a few minutes." >&2
pins=$venv/pins.txt
grep -vi '^lightautoml==' envs/lightautoml.txt >$pins
$venv/bin/python -m pip install --quiet --disable-pip-version-check -r $pins &&
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
        "$(grep -i '^lightautoml==' envs/lightautoml.txt)" ||
    fail "The packages could not be installed (see above): is there a network, and a package index that pip can reach?"
