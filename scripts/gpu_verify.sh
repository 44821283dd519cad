#!/bin/sh
# Runs check, deep check and bench --compare on a machine with an NVIDIA GPU and writes a redacted record of them.
#
# Usage: scripts/gpu_verify.sh ENVIRONMENT SLUG
#   ENVIRONMENT  a folder with faster-whisper in it: pip install 'gpudoctor-cli[bench,cuda12]'
#   SLUG         name of the record, such as rtx-3090-driver-550: it is written to tests/environments/SLUG
#
# The record holds a snapshot (a golden like the others there), what check and check --deep said, and the benchmark with
# its figures. Read it before you commit it. Where the GPU gives no result, the cause is printed and nothing is recorded.
set -eu

usage() {
    sed -n '4,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ $# -eq 2 ] || usage
case $2 in
'' | -* | *- | *[!a-z0-9-]*) usage ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
environment=$1
slug=$2
record=$root/tests/environments/$slug
if [ ! -x "$python" ]; then
    echo "$python is not there: run scripts/test once, which makes it" >&2
    exit 2
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

doctor() {
    # A finding is an answer here, not a failure; wrong usage and defects are failures.
    status=0
    "$python" -m gpudoctor "$@" || status=$?
    if [ "$status" -gt 3 ] || [ "$status" -eq 2 ]; then
        echo "gpudoctor $1: status $status; nothing was recorded" >&2
        exit "$status"
    fi
    echo "gpudoctor $1: status $status" >&2
}

doctor bench --python "$environment" --device cuda --runs 1 --warmup 0 --quiet
if [ "$status" -ne 0 ]; then
    echo "the GPU gives no result here, for the cause above: there is nothing to measure, and nothing was recorded" >&2
    exit 1
fi
doctor check --python "$environment" --format json -o "$scratch/check.json"
doctor check --python "$environment" --deep --format json -o "$scratch/deep.json"
doctor bench --python "$environment" --compare --model synthetic:tiny --model synthetic:small \
    --model synthetic:large-v3 --runs 5 --time-limit 600 --save "$scratch/bench.json"
doctor bench --python "$environment" --no-repair --device cuda --runs 3 --save "$scratch/bench-no-repair.json"
"$python" "$root/scripts/record_environment.py" "$slug" --python "$environment"

for file in check.json deep.json bench.json bench-no-repair.json; do
    "$python" - "$scratch/$file" "$record/$file" "$environment" <<'END'
import os, pathlib, socket, sys
source, target, environment = sys.argv[1:]
text = pathlib.Path(source).read_text("utf-8")
hidden = [(os.path.realpath(environment), "/srv/app/.venv"), (os.path.abspath(environment), "/srv/app/.venv")]
hidden += [(os.path.expanduser("~"), "/home/user"), (socket.gethostname(), "host")]
for word, shown in hidden:
    if len(word) > 3:
        text = text.replace(word, shown)
pathlib.Path(target).write_text(text, "utf-8")
END
done
echo "tests/environments/$slug: read what is in it, commit it, and put its figures into the README" >&2
