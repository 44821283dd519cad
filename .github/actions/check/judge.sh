#!/usr/bin/env bash
# Runs gpudoctor twice: for the SARIF file and the outputs, then for annotations and the job summary.
set -euo pipefail
bin=$RUNNER_TEMP/gpudoctor/bin
[ -d "$bin" ] || bin=$RUNNER_TEMP/gpudoctor/Scripts

arguments=("$DOCTOR_COMMAND")
add() { if [ -n "${2-}" ]; then arguments+=("$1" "$2"); fi; }

if [ "$DOCTOR_COMMAND" = check ]; then
    # Not gpudoctor's own environment, but the one that the job works in. On PATH there may be a shim (pyenv, mise), which
    # only knows what it stands for when it runs.
    job_python() { "$(command -v python3 || command -v python)" -I -c 'import sys; print(sys.executable)'; }
    add --python "${DOCTOR_PYTHON:-${VIRTUAL_ENV:-$(job_python)}}"
    add --against "$DOCTOR_LOCK"
elif [ -n "$DOCTOR_PYTHON$DOCTOR_LOCK" ]; then
    echo "::error title=gpudoctor::python and lock are inputs for the command check"
    exit 2
fi
add --assume-driver "$DOCTOR_ASSUME_DRIVER"
while IFS= read -r gpu; do add --assume-gpu "$gpu"; done <<<"$DOCTOR_ASSUME_GPU"
add --fail-on "$DOCTOR_FAIL_ON"
while IFS= read -r argument; do
    if [ -n "$argument" ]; then arguments+=("$argument"); fi
done <<<"$DOCTOR_ARGS"

sarif=${DOCTOR_SARIF:-$RUNNER_TEMP/gpudoctor-$DOCTOR_COMMAND.sarif}
status=0
"$bin/gpudoctor" "${arguments[@]}" --format sarif -o "$sarif" || status=$?
case $status in
    0 | 1 | 3) ;;
    *) exit "$status" ;; # wrong usage or unreadable input: its sentence stands above
esac
"$bin/gpudoctor" "${arguments[@]}" --format github || status=$?
"$bin/python" -I "$GITHUB_ACTION_PATH/outputs.py" "$sarif" "$status" >>"$GITHUB_OUTPUT"
exit "$status"
