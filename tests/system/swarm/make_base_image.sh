#!/usr/bin/env bash
# Builds a Debian base image for the product's Dockerfile, for machines which cannot pull images.
#
#   make_base_image.sh [IMAGE]            IMAGE is paxos-base:bookworm unless told
#
# The root is made with debootstrap and holds python3, pip, venv and certificates, and nothing else.
# It takes this host's CA bundle and pip configuration, whatever they are, so that `pip install`
# inside a build reaches what it reaches here. It is a base for tests on a closed network, not for
# publishing: a pip index address with a password in it would be in the image as well.
#
# DEBIAN_MIRROR   where packages come from; otherwise what this host's apt uses
# PAXOS_BASE_CACHE  folder of the cached root, /var/cache/paxos-base unless told
# PAXOS_BASE_REBUILD=1   forget the cached root and the image
set -euo pipefail

SUITE=bookworm
IMAGE=${1:-paxos-base:$SUITE}
CACHE=${PAXOS_BASE_CACHE:-/var/cache/paxos-base}
PACKAGES=python3,python3-pip,python3-venv,ca-certificates

say() { printf 'base image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

debian_mirror() {
    if [[ -n ${DEBIAN_MIRROR:-} ]]; then
        printf '%s\n' "$DEBIAN_MIRROR"
        return
    fi
    # shellcheck disable=SC2016  # apt fills in $(REPO_URI), not this shell
    apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' "Codename: $SUITE" 'Label: Debian' 'Component: main' | sed -n 1p
}

host_ca_bundle() {
    local candidate
    for candidate in "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}" "${SSL_CERT_FILE:-}" "${CURL_CA_BUNDLE:-}" \
        /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        if [[ -n $candidate && -s $candidate ]]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# What pip is told here, less what means nothing inside a container: paths on this disk, and the
# `cert` that is replaced by the bundle's place in the image. $1 = the bundle's path in the image.
pip_configuration() {
    python3 - "$1" <<'PYTHON'
import ast
import subprocess
import sys

KEYS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
listing = subprocess.run(
    [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
).stdout
wanted: dict[str, str] = {}
for line in listing.splitlines():
    name, _, quoted = line.partition("=")
    section, _, key = name.rpartition(".")
    if key not in KEYS or section not in ("global", "install", ":env:"):
        continue
    words = ast.literal_eval(quoted).split()
    kept = [word for word in words if not word.startswith(("/", "~", ".", "file:"))]
    if kept:
        wanted["timeout" if key == "default-timeout" else key] = " ".join(kept)
print("[global]")
print(f"cert = {sys.argv[1]}")
for key, value in wanted.items():
    print(f"{key} = {value.replace('%', '%%')}")
PYTHON
}

make_root() {
    local tarball=$1 mirror
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "apt names no mirror of $SUITE here; set DEBIAN_MIRROR"
    command -v debootstrap >/dev/null || die "debootstrap is missing; ensure_docker.sh installs it"
    [[ $(id -u) == 0 ]] || die "debootstrap needs root"
    say "debootstrap of $SUITE, about a minute"
    if ! debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$work/root" "$mirror" >"$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        die "debootstrap failed"
    fi
    rm -rf "$work/root"/var/cache/apt/* "$work/root"/var/lib/apt/lists/* "$work/root"/var/log/* \
        "$work/root"/usr/share/{doc,man,locale,info}/* "$work/root"/etc/{hostname,resolv.conf}
    mkdir -p "$(dirname "$tarball")"
    # The rename makes a half-written cache impossible.
    tar --numeric-owner --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' \
        -C "$work/root" -czf "$tarball.new" .
    mv "$tarball.new" "$tarball"
}

arch=$(dpkg --print-architecture)
tarball=$CACHE/$SUITE-$arch.tar.gz
if [[ ${PAXOS_BASE_REBUILD:-} == 1 ]]; then
    rm -f "$tarball"
    docker image rm --force "$IMAGE" >/dev/null 2>&1 || true
fi
if docker image inspect "$IMAGE" >/dev/null 2>&1; then
    say "$IMAGE is here already"
    exit 0
fi

[[ -s $tarball ]] || make_root "$tarball"
say "import of $tarball"
docker import --change 'CMD ["python3"]' "$tarball" "$IMAGE-root" >/dev/null

context=$work/context
in_image=/etc/ssl/certs/ca-certificates.crt
mkdir -p "$context"
bundle=$(host_ca_bundle) || die "this host has no CA bundle; set SSL_CERT_FILE"
cp "$bundle" "$context/ca.crt"
pip_configuration "$in_image" >"$context/pip.conf"
cat >"$context/Dockerfile" <<DOCKERFILE
FROM $IMAGE-root
COPY ca.crt $in_image
COPY pip.conf /etc/pip.conf
ENV SSL_CERT_FILE=$in_image LANG=C.UTF-8
DOCKERFILE
chmod 0644 "$context"/*
docker build --tag "$IMAGE" "$context" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "the certificates could not be added"
}
say "$IMAGE is ready"
