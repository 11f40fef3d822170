#!/usr/bin/env bash
# Makes .venv, the virtual environment with everything this project needs, or brings it up to date:
#
#   scripts/setup_venv.sh            what the cluster and the client need (requirements.lock)
#   scripts/setup_venv.sh dev        what the tests and checks need as well (requirements-dev.lock)
#
# Does nothing when nothing has changed since. Every file is checked against the hash in the lock.
# An interrupted run is noticed by the next one, which then starts afresh.
#
# PYTHON   the interpreter to use; otherwise the newest of 3.13, 3.12 and 3.11 that is here
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:-runtime}
case $what in
    runtime) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *)
        echo "usage: scripts/setup_venv.sh [runtime|dev]" >&2
        exit 2
        ;;
esac

say() { printf 'set-up: %s\n' "$*" >&2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    say "Python 3.11 or newer is needed and was not found; on Debian: apt-get install python3 python3-venv"
    return 1
}

# As root, or as somebody whom sudo does not ask.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# Debian keeps what `python -m venv` needs in a package of its own.
install_venv_package() {
    local package
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    command -v apt-get >/dev/null || return 1
    say "this Python cannot make virtual environments; installing $package"
    as_root apt-get update -qq >/dev/null 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null 2>&1
}

make_venv() {
    local python=$1
    "$python" -m venv --clear .venv >/dev/null 2>&1 && return 0
    if command -v virtualenv >/dev/null && virtualenv --quiet --clear -p "$python" .venv; then
        return 0
    fi
    if install_venv_package "$python" && "$python" -m venv --clear .venv; then
        return 0
    fi
    say "cannot make a virtual environment with $python; on Debian: apt-get install python3-venv"
    return 1
}

# What pip says, reduced to one line for each package.
show_progress() {
    local line count=0 total
    total=$(grep -c '^[A-Za-z0-9_.-]*==' "$lock")
    while IFS= read -r line; do
        case $line in
            "Collecting "* | "Processing "*" (from -r "*)
                count=$((count + 1))
                line=${line#* }
                line=${line%% *}
                line=${line##*/}
                line=${line%%-cp[0-9]*}
                printf 'set-up: %2d/%d %s\n' "$count" "$total" "${line%%-py[0-9]*}" >&2
                ;;
            "Installing collected"*) say "installing" ;;
        esac
    done
}

install_packages() {
    local log=.venv/install.log
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input \
        --progress-bar off --require-hashes -r "$lock" 2>&1 | tee "$log" | show_progress; then
        tail -n 15 "$log" >&2
        say "the packages could not be installed; the whole output is in $log"
        return 1
    fi
    # This project itself, as a link to src/. The build tool is pinned in the lock as well.
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet \
        --no-deps --no-build-isolation --no-index -e . >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
}

# Two at once would disturb one another.
exec 9>.venv.lock
if command -v flock >/dev/null; then
    flock 9
fi

# The folder counts as well: a virtual environment does not survive being moved.
wanted=$({
    pwd
    cat pyproject.toml "$lock"
} | sha256sum | cut -d ' ' -f 1)
stamp=.venv/.installed-$what
if [[ -x .venv/bin/python && -f $stamp && ! -e .venv/.installing ]] &&
    [[ $(<"$stamp") == "$wanted" ]] && .venv/bin/python -c 'pass' 2>/dev/null; then
    exit 0
fi

if [[ ! -x .venv/bin/python || -e .venv/.installing ]] || ! new_enough .venv/bin/python ||
    ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    say "making .venv with $python ($("$python" --version 2>&1))"
    make_venv "$python"
fi
touch .venv/.installing
rm -f .venv/.installed-*
install_packages
printf '%s\n' "$wanted" >"$stamp"
if [[ $what == dev ]]; then
    # The tools' lock holds everything that the cluster needs, in the same versions.
    {
        pwd
        cat pyproject.toml requirements.lock
    } | sha256sum | cut -d ' ' -f 1 >.venv/.installed-runtime
fi
rm -f .venv/.installing
say "done"
