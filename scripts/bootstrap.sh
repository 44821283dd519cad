# Sourced by scripts/doctor and scripts/test. POSIX sh.

# find_python: prints the first Python >= 3.10 on PATH.
find_python() {
    for name in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            echo "$name"
            return 0
        fi
    done
    echo "gpudoctor: no Python 3.10 or newer with the venv module on PATH; install one (Debian: apt install python3-venv) or set PYTHON" >&2
    return 2
}

# bootstrap run|dev: makes or completes .venv in the current folder. Does nothing when it is up to date.
bootstrap() {
    wanted=$1
    stamp=.venv/.gpudoctor-$wanted
    if [ -e "$stamp" ] && [ -z "$(find pyproject.toml scripts/constraints-dev.txt src/gpudoctor/__init__.py -newer "$stamp")" ]; then
        return 0
    fi
    python=$(find_python) || return 2
    # A .venv that was moved, or whose interpreter is gone, is made anew.
    if ! .venv/bin/python -c '' >/dev/null 2>&1; then
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
