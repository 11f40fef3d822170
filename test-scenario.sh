#!/bin/sh
# A guided demonstration on the running system: writes, reads, kills the leader, an acceptor, a
# learner and discovery, and checks every step. Exits non-zero when one fails.
set -eu
cd "$(dirname "$0")"
if [ ! -x .venv/bin/paxos ]; then
    echo "test-scenario.sh: the system has not been set up yet; start it with ./run.sh" >&2
    exit 2
fi
exec .venv/bin/paxos scenario "$@"
