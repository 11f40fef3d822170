#!/usr/bin/env bash
# Checks on every other Python of this machine (3.12 and later, in PATH or under pyenv) that the
# simulator's seeds mean the same there: their trace hashes must be those of
# tests/sim/trace_hashes.txt, which any version may have recorded.
#
# Where there is no other Python it says so and is content: the recorded hashes were compared on
# another version before they were kept, and ./test.sh compares them on this one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly HASHES=tests/sim/trace_hashes.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find_pythons() {
    local minor found
    for minor in 12 13 14; do
        for found in "$(command -v "python3.$minor" || true)" \
            "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python; do
            if [[ -x $found ]] && "$found" -c "import sys; assert sys.version_info[1] == $minor" 2>/dev/null; then
                printf '%s\n' "$found"
                break
            fi
        done
    done
}

mapfile -t pythons < <(find_pythons)
if [[ ${#pythons[@]} -eq 0 ]]; then
    echo "no other Python on this machine: the recorded trace hashes are checked on this one alone"
    exit 0
fi
for python in "${pythons[@]}"; do
    version=$("$python" -c 'import platform; print(platform.python_version())')
    printf 'trace hashes on Python %s: ' "$version"
    "$python" -m venv "$work/$version"
    # The simulator needs one library; its version is the locked one.
    locked=$(grep -oE '^msgspec==[^ ]+' requirements.lock)
    "$work/$version/bin/python" -m pip install --quiet --disable-pip-version-check "$locked" 2>/dev/null
    PYTHONPATH=src "$work/$version/bin/python" tests/sim/trace_hashes.py >"$work/hashes"
    diff "$HASHES" "$work/hashes"
    echo "the same"
done
