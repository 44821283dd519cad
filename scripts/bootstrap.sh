# Sourced by scripts/doctor and scripts/test. POSIX sh.

# find_python: prints the first Python >= 3.10 on PATH.
find_python() {
    for name in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            echo "$name"
            return 0
        fi
    done
    echo "gpudoctor: no Python 3.10 or newer with the venv module on PATH; install one (Debian: apt install python3-venv) or set PYTHON" >&2
    return 2
}

# is_whole: tells whether .venv works here. One that was moved starts programs of its old place, one whose making was cut
# short has no pip, and the interpreter behind one can be gone.
is_whole() {
    .venv/bin/python -c '' >/dev/null 2>&1 && grep -qF "$(pwd -P)/.venv/bin/" .venv/bin/pip 2>/dev/null
}

# bootstrap run|dev: makes or completes .venv in the current folder. Does nothing when it is up to date.
bootstrap() {
    wanted=$1
    stamp=.venv/.gpudoctor-$wanted
    if [ -e "$stamp" ] && is_whole && [ -z "$(find pyproject.toml scripts/constraints-dev.txt src/gpudoctor/__init__.py -newer "$stamp")" ]; then
        return 0
    fi
    python=$(find_python) || return 2
    if ! is_whole; then
        rm -rf .venv
        "$python" -m venv .venv
    fi
    extra=""
    [ "$wanted" = dev ] && extra="[dev]"
    echo "gpudoctor: installing into .venv" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint scripts/constraints-dev.txt --editable ".$extra" >&2 || return 2
    touch "$stamp"
}
