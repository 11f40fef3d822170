#!/usr/bin/env bash
# Builds the load generator into benchmarks/.build/load, when a source is newer than what is there.
# It needs no network: the libraries are Debian packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly WRONG_USAGE=2
readonly GOCODE=/usr/share/gocode
readonly BINARY=../.build/load

usage() {
    cat <<'END'
usage: benchmarks/load/build.sh           build benchmarks/.build/load, when it is not up to date
       benchmarks/load/build.sh --test    run the load generator's own tests
END
}

say() { printf 'benchmarks/load/build.sh: %s\n' "$*" >&2; }

# Prints the Debian packages that are missing.
packages_missing() {
    command -v go >/dev/null || echo golang-go
    [[ -d $GOCODE/src/go.etcd.io/etcd/clientv3 ]] || echo golang-etcd-server-dev
    [[ -d $GOCODE/src/github.com/samuel/go-zookeeper/zk ]] || echo golang-github-samuel-go-zookeeper-dev
}

check_packages() {
    local missing
    mapfile -t missing < <(packages_missing)
    if ((${#missing[@]} > 0)); then
        say "these Debian packages are missing: ${missing[*]}"
        say "install them with: apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
}

# Debian's Go libraries are found by GOPATH alone. Without C there is no C compiler to look for.
go_offline() {
    GO111MODULE=off GOPATH=$GOCODE GOFLAGS='' CGO_ENABLED=0 go "$@"
}

# The folder is newer too when a source was removed.
up_to_date() {
    [[ -x $BINARY && -z $(find . -newer "$BINARY" \( -name '*.go' -o -name build.sh -o -type d \)) ]]
}

fresh="" # the binary that is being made
trap 'rm -f "$fresh"' EXIT

# Whoever runs the old binary meanwhile keeps it, and nobody ever sees half of the new one.
build() {
    mkdir -p "$(dirname "$BINARY")"
    fresh=$(mktemp "$BINARY.XXXXXX")
    say "building"
    go_offline build -trimpath -o "$fresh" .
    chmod 755 "$fresh"
    mv "$fresh" "$BINARY"
}

case "${1-}" in
"")
    up_to_date && exit 0
    check_packages
    build
    ;;
--test)
    check_packages
    go_offline vet .
    go_offline test .
    ;;
--help | -h)
    usage
    ;;
*)
    say "$1 is not an option"
    usage >&2
    exit "$WRONG_USAGE"
    ;;
esac
