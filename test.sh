#!/usr/bin/env bash
# All checks and the fast tests, six to eleven minutes on two cores:
#
#   ./test.sh                       everything: linters, types, layers, shell scripts, tests
#   ./test.sh tests/core -k ballot  arguments go to pytest, and then only pytest runs
#
# Not here, because they need a Docker engine, a browser or minutes: tests/system/swarm,
# tests/system/browser and what is marked slow. .ci/run runs those as well.
#
# Exit status: 0 when everything passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '\n== %s\n' "$*" >&2; }

# Debian packages without which some test could not run: nothing is skipped for want of one.
install_missing_packages() {
    local missing=() as_root=()
    command -v shellcheck >/dev/null || missing+=(shellcheck)
    command -v redis-cli >/dev/null || missing+=(redis-tools)
    command -v redis-server >/dev/null || missing+=(redis-server)
    [[ -e /usr/share/dict/american-english ]] || missing+=(wamerican)
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if ! command -v apt-get >/dev/null; then
        say "missing, and there is no apt-get to install them with: ${missing[*]}"
        return 1
    fi
    if [[ $(id -u) != 0 ]]; then
        as_root=(sudo -n)
        if ! sudo -n true 2>/dev/null; then
            say "missing: run 'sudo apt-get install ${missing[*]}' and try again"
            return 1
        fi
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Every shell script of the repository, by name or by first line.
shell_scripts() {
    git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
        if [[ $file == *.sh ]] || head -c 40 "$file" 2>/dev/null | head -n 1 | grep -aqE '^#!.*\b(ba|da)?sh\b'; then
            printf '%s\n' "$file"
        fi
    done
}

failed=()
check() {
    local name=$1
    shift
    say "$name"
    "$@" || failed+=("$name")
}

check_shell_scripts() {
    local scripts
    mapfile -t scripts < <(shell_scripts)
    printf '%s scripts\n' "${#scripts[@]}"
    shellcheck --external-sources "${scripts[@]}"
}

# The benchmarks as well, but for benchmarks/journal, whose engines are not in requirements-dev.lock.
check_types() {
    .venv/bin/mypy --strict --explicit-package-bases \
        src benchmarks/*.py benchmarks/clusters tests/benchmarks
}

# One process for the tests of real clusters, one after the other: they mostly wait, and two for
# all the others.
run_tests() {
    .venv/bin/python -m pytest -n 3 --dist loadgroup -m "not slow" \
        --ignore=tests/system/swarm --ignore=tests/system/browser "$@"
}

scripts/setup_venv.sh dev
install_missing_packages
if [[ $# -gt 0 ]]; then
    run_tests "$@"
    exit
fi
check "ruff check" .venv/bin/ruff check .
check "ruff format" .venv/bin/ruff format --check .
check "mypy --strict" check_types
check "import-linter" .venv/bin/lint-imports
check "shellcheck" check_shell_scripts
check "pytest" run_tests
if [[ ${#failed[@]} -gt 0 ]]; then
    say "failed: ${failed[*]}"
    exit 1
fi
say "all passed in $SECONDS s"
