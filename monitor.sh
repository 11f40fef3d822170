#!/bin/sh
# A live view of every node in the terminal. Options: ./monitor.sh --help
set -eu
cd "$(dirname "$0")"
if [ ! -x .venv/bin/paxos ]; then
    echo "monitor.sh: the system has not been set up yet; start it with ./run.sh" >&2
    exit 2
fi
exec .venv/bin/paxos monitor "$@"
