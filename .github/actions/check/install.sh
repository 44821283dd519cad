#!/usr/bin/env bash
# Installs gpudoctor, with the exact versions that it was tested with, into an environment of its own.
set -euo pipefail
root=$(cd "$GITHUB_ACTION_PATH/../../.." && pwd)
python=$(command -v python3 || command -v python) || {
    echo "::error title=gpudoctor::no python3 on PATH: run actions/setup-python before this step"
    exit 2
}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "::error title=gpudoctor::python3 is older than 3.10: run actions/setup-python before this step"
    exit 2
fi
venv=$RUNNER_TEMP/gpudoctor
"$python" -m venv "$venv"
bin=$venv/bin
[ -d "$bin" ] || bin=$venv/Scripts
"$bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$root/scripts/constraints-dev.txt" "$root"
