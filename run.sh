#!/usr/bin/env bash
# Starts and stops the cluster; does all the set-up by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly NO_IMAGE=4 # scripts/swarm.sh up: the image cannot be built here
readonly WRONG_USAGE=2

usage() {
    cat <<'END'
usage: ./run.sh [--local | --swarm]    start, wait until a write has been read back
       ./run.sh stop                   stop what was started; the data stays
       ./run.sh reset [--yes]          stop and delete the data, after asking

Without an option: a Docker Swarm stack named paxos where a Docker engine answers and the image can
be built; otherwise local processes, after saying why. What was started last and still runs is
kept to.

Configuration: paxos.toml (paxos.example.toml has every key) and PAXOS_... variables.
END
}

say() { printf '%s\n' "$*" >&2; }

wrong_usage() {
    say "run.sh: $*"
    usage >&2
    exit "$WRONG_USAGE"
}

engine_answers() { command -v docker >/dev/null && timeout 15 docker info >/dev/null 2>&1; }

stack_stands() { engine_answers && docker stack ls --format '{{.Name}}' 2>/dev/null | grep -qx paxos; }

start_local() {
    local status=0
    .venv/bin/paxos up || status=$?
    exit "$status"
}

# Returns NO_IMAGE when the image cannot be built; any other outcome ends here.
start_swarm() {
    local status=0
    scripts/swarm.sh up || status=$?
    if [[ $status == "$NO_IMAGE" ]]; then
        return "$NO_IMAGE"
    fi
    if [[ $status == 0 ]]; then
        .venv/bin/paxos mode --set-swarm >/dev/null
        .venv/bin/paxos wait --timeout 60 || status=$?
    fi
    exit "$status"
}

start() {
    local mode=$1 last
    scripts/setup_venv.sh
    # Ends here, with every mistake told, when the configuration is wrong.
    last=$(.venv/bin/paxos mode --check)
    if [[ $mode == auto && $last == local ]]; then
        say "local processes were started last and not stopped: starting those that are missing"
        mode=local
    fi
    case $mode in
        local) start_local ;;
        swarm)
            if ! engine_answers; then
                say "run.sh: no Docker engine answers (docker info), so there can be no Swarm"
                exit 1
            fi
            if ! start_swarm; then
                say "run.sh: the image cannot be built here; ./run.sh --local needs none"
                exit 1
            fi
            ;;
        auto)
            if ! engine_answers; then
                say "no Docker engine answers here: starting local processes"
                start_local
            fi
            if [[ -e ${PAXOS_DATA:-data}/acceptor-1 ]]; then
                say "note: what local processes kept in ${PAXOS_DATA:-data} is not in the Swarm; ./run.sh --local shows it"
            fi
            if ! start_swarm; then
                say "the image cannot be built here: starting local processes"
            fi
            start_local
            ;;
    esac
}

last_mode() {
    if [[ -x .venv/bin/paxos ]]; then .venv/bin/paxos mode; else echo none; fi
}

# Only what this folder started: another checkout's stack has the same name.
stop() {
    local last
    last=$(last_mode)
    case $last in
        local) .venv/bin/paxos stop ;;
        swarm)
            scripts/swarm.sh down
            .venv/bin/paxos mode --set-stopped >/dev/null
            say "stopped; the data stays"
            ;;
        *)
            say "nothing was running"
            if stack_stands; then
                say "note: a stack named paxos stands that was not started from here; docker stack rm paxos stops it"
            fi
            ;;
    esac
}

reset() {
    local answer last
    last=$(last_mode)
    if [[ ${1:-} != --yes ]]; then
        read -r -p "Delete everything that the cluster keeps? [y/N] " answer || answer=n
        if [[ $answer != [yY] && $answer != [yY][eE][sS] ]]; then
            say "nothing was deleted"
            exit 1
        fi
    fi
    if [[ $last == swarm* ]]; then
        scripts/swarm.sh reset --yes
    fi
    if [[ -x .venv/bin/paxos ]]; then
        .venv/bin/paxos reset --yes
    fi
}

mode=auto
verb=
confirmed=()
for word in "$@"; do
    case $word in
        --local | --swarm)
            if [[ $mode != auto && $mode != "${word#--}" ]]; then
                wrong_usage "--local and --swarm contradict one another; give one of them"
            fi
            mode=${word#--}
            ;;
        --yes | -y) confirmed=(--yes) ;;
        --help | -h)
            usage
            exit 0
            ;;
        start | stop | reset)
            if [[ -n $verb && $verb != "$word" ]]; then
                wrong_usage "$verb and $word contradict one another; give one of them"
            fi
            verb=$word
            ;;
        *) wrong_usage "unknown word: $word" ;;
    esac
done
case ${verb:-start} in
    start) start "$mode" ;;
    stop) stop ;;
    reset) reset "${confirmed[@]}" ;;
esac
