#!/usr/bin/env bash
# Writes requirements.lock and requirements-dev.lock anew from the ranges in pyproject.toml: exact
# versions with the hashes of every file of each release. For maintainers, after a change of
# dependencies:
#
#   scripts/lock.sh              keep the versions that are locked where the ranges still allow them
#   scripts/lock.sh --upgrade    take the newest versions that the ranges allow
#
# Python 3.11, the oldest that is supported: its dependencies include those of the later ones.
# Version of pip-tools: any. Everything happens in a folder of its own that is thrown away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3.11}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pip-tools

# No index address, no machine's paths, no date: the same input gives the same bytes.
compile() {
    CUSTOM_COMPILE_COMMAND=scripts/lock.sh "$work/venv/bin/pip-compile" --quiet \
        --generate-hashes --strip-extras --allow-unsafe --newline lf \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        "$@" pyproject.toml
}

compile --build-deps-for editable --output-file requirements.lock "${@:1}"
compile --build-deps-for editable --extra dev --constraint requirements.lock \
    --output-file requirements-dev.lock "${@:1}"
echo "wrote requirements.lock and requirements-dev.lock"
