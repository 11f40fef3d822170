#!/usr/bin/env bash
# Makes a Docker engine answer on a machine which has only Debian: installs what is missing, starts
# dockerd when none answers, and waits until it does. Runs as root; running it again does nothing.
#
# It keeps no engine from running: a machine whose Docker answers is left exactly as it is.
# DOCKERD_LOG   where the engine's output goes, /var/log/dockerd.log unless told
set -euo pipefail

LOG=${DOCKERD_LOG:-/var/log/dockerd.log}
WAIT_SECONDS=60

say() { printf 'docker: %s\n' "$*" >&2; }
answers() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

# Debian's package wants to start the engine through systemd, which a container or a small virtual
# machine does not have; debootstrap is for make_base_image.sh.
install_missing() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    # Newer Debian releases keep the client in a package of its own.
    command -v docker >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker-cli >/dev/null
}

# $@ = further options of dockerd. Succeeds when the engine answers, fails when it ends.
start_engine() {
    local pid waited
    # setsid: the engine outlives this script and the terminal's Ctrl-C.
    setsid dockerd "$@" >>"$LOG" 2>&1 </dev/null &
    pid=$!
    for ((waited = 0; waited < WAIT_SECONDS * 2; waited++)); do
        if answers >/dev/null; then
            return 0
        fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.5
    done
    say "no answer after $WAIT_SECONDS s"
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    return 1
}

if version=$(answers); then
    say "engine $version answers"
    # make_base_image.sh still needs its tool.
    command -v debootstrap >/dev/null || [[ $(id -u) != 0 ]] || install_missing
    exit 0
fi
if [[ $(id -u) != 0 ]]; then
    say "no engine answers, and starting one needs root"
    exit 1
fi
install_missing
say "starting dockerd, its log is $LOG"
# overlay2 is what dockerd chooses where it can; vfs is slow and works on every file system.
if ! start_engine && ! start_engine --storage-driver=vfs; then
    tail -n 20 "$LOG" >&2
    say "dockerd does not start here; the last lines of its log are above"
    exit 1
fi
say "engine $(answers) answers"
