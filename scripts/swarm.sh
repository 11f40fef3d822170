#!/usr/bin/env bash
# Runs the cluster as the Docker Swarm stack `paxos`. ./run.sh is the door for people; this is what
# it calls.
#
#   scripts/swarm.sh up            build the image, deploy the stack or update the one that runs,
#                                  and return when every service runs
#   scripts/swarm.sh down          remove the stack and wait until it is gone; the data stays
#   scripts/swarm.sh reset --yes   down, and delete the data that is on this machine
#   scripts/swarm.sh status        what runs where, and which nodes are ready
#   scripts/swarm.sh replace SERVICE [LIFE]
#                                  give a node a new beginning, whatever became of its volume, which
#                                  is moved aside: an acceptor through the log, as the next life of
#                                  its place (LIFE, where nothing tells which that is)
#
# PAXOS_BASE_IMAGE            base of the image, for machines that cannot pull the usual one
# PAXOS_IMAGE                 a finished image, used as it is: nothing is built
# PAXOS_SWARM_ADVERTISE_ADDR  this machine's address for a new Swarm, 127.0.0.1 unless told
# PAXOS_CONFIG                the configuration file for the nodes, ./paxos.toml unless told
# PAXOS_SECURITY_PASSWORD     for replace, where no client node runs on this machine: the doors' password
# PAXOS_SWARM_WAIT_SECONDS    how long one wait may take, 180 unless told
#
# Exit status: 0 done, 1 failed, 2 wrong usage, 4 a Swarm cannot be had here (no engine, no image):
# local processes still can.
set -euo pipefail

STACK=paxos
SECRET=paxos_cluster_secret
CONFIGURATION=paxos_configuration
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STACK_FILE=$ROOT/deploy/stack.yml
cd "$ROOT"
WAIT_SECONDS=${PAXOS_SWARM_WAIT_SECONDS:-180}
EXIT_FAILED=1
EXIT_USAGE=2
EXIT_NO_SWARM=4

say() { printf 'swarm: %s\n' "$*" >&2; }
die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

# ---- what stack.yml says -------------------------------------------------------------------------

services() { awk '/^[^ #]/ {inside = ($1 == "services:")} inside && /^  [a-z]/ {sub(":", "", $1); print $1}' "$STACK_FILE"; }
published_ports() { sed -n 's/.*published: \([0-9]*\).*/\1/p' "$STACK_FILE"; }
# The services that own a volume: those with a label constraint.
placed_services() { sed -n 's/.*node\.labels\.paxos\.\([a-z0-9-]*\) == true.*/\1/p' "$STACK_FILE"; }
# The page's port is the first that a service publishes.
page_port() {
    awk -v name="$1:" '/^  [a-z]/ {inside = ($1 == name)} inside && match($0, /published: [0-9]+/) {
        print substr($0, RSTART + 11, RLENGTH - 11); exit }' "$STACK_FILE"
}
# stack.yml with one service only. `docker stack deploy` leaves services alone that a file does not name.
stack_file_of() {
    awk -v name="$1:" '/^[^ #]/ {inside = ($1 == "services:"); wanted = 1}
        inside && /^  [a-z]/ {wanted = ($1 == name)} !inside || wanted' "$STACK_FILE"
}

# How many services of a role the cluster was founded with: those that cluster.added ($2) does not name.
founded() { services | grep "^$1-" | grep -vcxF "$(tr -s ' ' '\n' <<<"${2:-none}")"; }
# The doors of all client nodes, as other containers reach them.
doors() {
    local service
    for service in $(services | grep '^client-'); do
        printf -- '--door %s:%s ' "$service" "$(awk -v name="$service:" '/^  [a-z]/ {inside = ($1 == name)}
            inside && match($0, /published: [0-9]+/) {port = substr($0, RSTART + 11, RLENGTH - 11)} END {print port}' "$STACK_FILE")"
    done
}

# ---- what the engine says ------------------------------------------------------------------------

engine_version() { timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null; }
of_stack() { printf 'label=com.docker.stack.namespace=%s' "$STACK"; }
deployed_services() { docker service ls --quiet --filter "$(of_stack)"; }
leftovers() {
    docker ps --all --quiet --filter "$(of_stack)"
    docker network ls --quiet --filter "$(of_stack)"
}
# The task that Swarm wants to run: "<id> <state>", for instance "x1y2 Running".
current_task() {
    docker service ps --no-trunc --filter desired-state=running --format '{{.ID}} {{.CurrentState}}' "${STACK}_$1" 2>/dev/null |
        awk 'NR == 1 {print $1, $2}'
}
# The services whose task runs, and so passes its health check; in stack.yml's order.
running_services() {
    local states service
    states=$(docker stack ps --filter desired-state=running --format '{{.Name}} {{.CurrentState}}' "$STACK" 2>/dev/null || true)
    for service in $(services); do
        if [[ $'\n'$states == *$'\n'"${STACK}_$service.1 Running"* ]]; then printf '%s\n' "$service"; fi
    done
}
missing_services() { comm -23 <(services | sort) <(running_services | sort); }
task_template() { docker service inspect --format '{{json .Spec.TaskTemplate}}' "${STACK}_$1" 2>/dev/null || true; }
# What Swarm reports as wrong with a service's newest task.
last_error() {
    docker service ps --no-trunc --format '{{.Error}}' "${STACK}_$1" 2>/dev/null | sed '/^$/d' | sed -n 1p
}
machine_count() { docker node ls --quiet | wc -l | tr -d ' '; }
is_ready() {
    python3 -I -S - "$1" <<'PYTHON'
import socket, sys
try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 3) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        sys.exit(b" 200 " not in connection.recv(64))
except OSError:
    sys.exit(1)
PYTHON
}

# How many links to other nodes a node has, as its own page says; 0 when it does not answer.
links_of() {
    python3 -I -S - "$1" <<'PYTHON'
import json, sys, urllib.request
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/state", timeout=3) as answer:
        print(sum(link["connected"] for link in json.load(answer)["links"]))
except (OSError, ValueError, KeyError):
    print(0)
PYTHON
}

# The name that a node has, as its own page says.
node_at() {
    python3 -I -S - "$1" <<'PYTHON'
import json, sys, urllib.request
with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/state", timeout=3) as answer:
    print(json.load(answer)["node"])
PYTHON
}

require_manager() {
    local version state
    command -v docker >/dev/null || die "$EXIT_NO_SWARM" "the docker program is not installed"
    version=$(engine_version) || die "$EXIT_NO_SWARM" "no Docker engine answers (is it started, and may this user talk to it?)"
    [[ -n $version ]] || die "$EXIT_NO_SWARM" "no Docker engine answers (is it started, and may this user talk to it?)"
    state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
    if [[ $state == "active true" ]]; then
        return 0
    fi
    [[ $1 == init ]] || return 1
    [[ $state == "inactive false" ]] ||
        die "$EXIT_NO_SWARM" "this machine's Swarm state is '$state': it must be a manager; run this on one, or leave with 'docker swarm leave'"
    init_swarm
}

# On 127.0.0.1 nobody else can reach the Swarm's own port, and a machine whose address changes keeps
# its Swarm. For several machines, set the address or make the Swarm yourself before.
init_swarm() {
    local address=${PAXOS_SWARM_ADVERTISE_ADDR:-127.0.0.1} listen=0.0.0.0:2377 answer
    [[ $address != 127.0.0.1 ]] || listen=127.0.0.1:2377
    say "no Swarm yet: docker swarm init on $address"
    if ! answer=$(docker swarm init --advertise-addr "$address" --listen-addr "$listen" 2>&1); then
        die "$EXIT_NO_SWARM" "docker swarm init failed: $answer"
    fi
}

# ---- before deploying ----------------------------------------------------------------------------

# Sets IMAGE. The tag is the content: Swarm compares names, and would not notice that a `latest`
# means another image now.
build_image() {
    local base=${PAXOS_BASE_IMAGE:-} arguments=() log variable id
    if [[ -n ${PAXOS_IMAGE:-} ]]; then
        IMAGE=$PAXOS_IMAGE
        say "image $IMAGE, as told by PAXOS_IMAGE"
        return 0
    fi
    [[ -z $base ]] || arguments+=(--build-arg "BASE_IMAGE=$base")
    for variable in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
        [[ -z ${!variable:-} ]] || arguments+=(--build-arg "$variable")
    done
    log=$(mktemp)
    say "building the image${base:+ on $base}; the first time takes a minute or two"
    # An attestation holds the time of the build, and would make every build another image.
    if ! BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --file "$ROOT/deploy/Dockerfile" --tag "$STACK:latest" \
        ${arguments[@]+"${arguments[@]}"} "$ROOT" 2>&1 | tee "$log" | build_progress; then
        tail -n 15 "$log" | sed 's/^/swarm:   /' >&2
        rm -f "$log"
        say "the image could not be built; the builder's last words are above"
        die "$EXIT_NO_SWARM" "where images cannot be pulled, PAXOS_BASE_IMAGE can name one that is here already"
    fi
    rm -f "$log"
    id=$(docker image inspect --format '{{.Id}}' "$STACK:latest")
    id=${id#sha256:}
    IMAGE=$STACK:${id:0:12}
    docker tag "$STACK:latest" "$IMAGE"
    say "image $IMAGE"
}

# Images and configurations of earlier deployments. One that is still referred to is refused, and
# stays.
forget_old() {
    local tag name
    for name in $(docker secret ls --filter name=paxos_configuration- --format '{{.Name}}'); do
        [[ $name == "$CONFIGURATION" ]] || docker secret rm "$name" >/dev/null 2>&1 || true
    done
    [[ -z ${PAXOS_IMAGE:-} ]] || return 0
    for tag in $(docker image ls --format '{{.Tag}}' "$STACK"); do
        if [[ $tag =~ ^[0-9a-f]{12}$ && $STACK:$tag != "$IMAGE" ]]; then
            docker image rm "$STACK:$tag" >/dev/null 2>&1 || true
        fi
    done
}

# One short line per step, from either builder's output.
build_progress() {
    awk '/^Step [0-9]+\/[0-9]+ : / || /^#[0-9]+ \[/ {print "swarm:   " substr($0, 1, 100); fflush()}' >&2
}

# Who listens on a port, in a person's words.
port_owner() {
    local port=$1 owner
    owner=$(docker ps --filter "publish=$port" --format 'container {{.Names}}' 2>/dev/null | sed -n 1p)
    if [[ -z $owner ]] && command -v ss >/dev/null; then
        owner=$(ss -Hltnp "sport = :$port" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p' | sed -n 1p)
    fi
    if [[ -z $owner ]] && command -v lsof >/dev/null; then
        owner=$(lsof -nP -iTCP:"$port" -sTCP:LISTEN 2>/dev/null | awk 'NR == 2 {print $1 " (process " $2 ")"}')
    fi
    printf '%s' "${owner:-another program}"
}

check_ports() {
    local port taken=0
    for port in $(published_ports); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            say "port $port is taken by $(port_owner "$port")"
            taken=1
        fi
    done
    [[ $taken == 0 ]] || die "$EXIT_FAILED" "the stack needs these ports; stop what has them (a local cluster: ./run.sh stop)"
}

make_secret() {
    if docker secret inspect "$SECRET" >/dev/null 2>&1; then
        return 0
    fi
    say "making the cluster's secret $SECRET"
    # The value goes through pipes only: never an argument, a file or a log.
    if command -v openssl >/dev/null; then openssl rand -hex 32; else head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; fi |
        docker secret create "$SECRET" - >/dev/null
}

# The stack file says how many nodes there are and which ports they have; a configuration that says
# otherwise would make nodes and clients look for one another in vain.
check_configuration() {
    local said name expected actual added wrong=0
    [[ -x .venv/bin/paxos ]] || return 0
    said=$(.venv/bin/paxos config --json 2>/dev/null) || die "$EXIT_FAILED" "the configuration is wrong: .venv/bin/paxos config tells where"
    added=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["cluster"]["added"])' <<<"$said")
    while read -r name expected; do
        actual=$(python3 -c 'import json, sys; one = json.load(sys.stdin)
for part in sys.argv[1].split("."): one = one[part]
print(one)' "$name" <<<"$said")
        if [[ $actual != "$expected" ]]; then
            say "$name is $actual in the configuration and $expected in deploy/stack.yml"
            wrong=1
        fi
    done <<WANTED
cluster.proposers $(founded proposer "$added")
cluster.acceptors $(founded acceptor "$added")
cluster.learners $(founded learner "$added")
cluster.clients $(founded client "$added")
network.pages_port $(page_port discovery)
network.peers_port 17000
network.doors_port $(published_ports | sort -n | sed -n 1p)
network.port_offset 0
doors.resp True
WANTED
    [[ $wrong == 0 ]] || die "$EXIT_FAILED" "make them the same, or run local processes: ./run.sh --local"
    for name in $(compgen -e | grep -E '^PAXOS_(SECURITY|TIMEOUTS|LIMITS|DOORS|LOG)_' || true); do
        say "note: $name is for this machine only; what the stack's nodes should know goes into paxos.toml"
    done
}

# Sets CONFIGURATION. A secret cannot be changed, so its name holds a sum of its content, and another
# content makes another service definition: the nodes are replaced, one at a time.
make_configuration() {
    local file=${PAXOS_CONFIG:-paxos.toml} content="# no paxos.toml: the defaults" sum
    if [[ -f $file ]]; then
        content=$(cat "$file")
        say "the nodes' configuration is $file"
    fi
    sum=$(printf '%s\n' "$content" | cksum | tr ' ' '-')
    CONFIGURATION=paxos_configuration-$sum
    docker secret inspect "$CONFIGURATION" >/dev/null 2>&1 ||
        printf '%s\n' "$content" | docker secret create "$CONFIGURATION" - >/dev/null
}

# A service with a volume is pinned to the machine that is labelled for it. Services without a label
# are dealt out over the machines in turn, so that acceptors land on different ones.
label_machines() {
    local machines labels service turn=0
    read -r -a machines <<<"$(docker node ls --quiet | tr '\n' ' ')"
    labels=$(docker node inspect --format '{{range $key, $value := .Spec.Labels}}{{$key}}={{$value}} {{end}}' "${machines[@]}")
    for service in $(placed_services); do
        if [[ " ${labels//$'\n'/ } " != *" $STACK.$service=true "* ]]; then
            docker node update --label-add "$STACK.$service=true" "${machines[turn % ${#machines[@]}]}" >/dev/null
        fi
        turn=$((turn + 1))
    done
}

# ---- deploying -----------------------------------------------------------------------------------

# $@ = further arguments; the stack file comes from standard input. Clients from 26 on can wait by
# themselves, in their own way; older ones do not know the option that says not to.
stack_deploy() {
    local detach=()
    if docker stack deploy --help 2>/dev/null | grep -q -- --detach; then
        detach=(--detach=true)
    fi
    PAXOS_IMAGE=$IMAGE PAXOS_CONFIGURATION_SECRET=$CONFIGURATION docker stack deploy --resolve-image never ${detach[@]+"${detach[@]}"} "$@" --compose-file - "$STACK" |
        sed 's/^/swarm:   /' >&2
}

# $1 = service, $2 = the task that was there before, when another must take its place.
wait_until_running() {
    local service=$1 before=${2:-} deadline=$((SECONDS + WAIT_SECONDS)) task
    while ((SECONDS < deadline)); do
        task=$(current_task "$service")
        if [[ $task == *" Running" && ( -z $before || $task != "$before "* ) ]]; then
            return 0
        fi
        sleep 0.5
    done
    say "$service does not run after $WAIT_SECONDS s: $(last_error "$service")"
    say_last_words "$service"
    return 1
}

# Alive is what Swarm sees; a quorum needs ready. Only the machine's own pages can be asked.
wait_until_ready() {
    local service=$1 deadline=$((SECONDS + WAIT_SECONDS)) port
    [[ $(machine_count) == 1 ]] || return 0
    port=$(page_port "$service")
    while ((SECONDS < deadline)); do
        if is_ready "$port"; then return 0; fi
        sleep 0.5
    done
    say "$service runs, and is not ready after $WAIT_SECONDS s (http://localhost:$port/readyz)"
    return 1
}

# Ready is what a node says of itself. Its name comes back to the network's DNS a few seconds later,
# and only then do the others find it: replaced before that, the next acceptor would be the second
# that the leader cannot reach.
wait_until_linked() {
    local service=$1 before=$2 deadline=$((SECONDS + WAIT_SECONDS)) port
    [[ $(machine_count) == 1 ]] || return 0
    port=$(page_port "$service")
    while ((SECONDS < deadline)); do
        if (($(links_of "$port") >= before)); then return 0; fi
        sleep 0.5
    done
    say "$service is ready, and not all nodes that had a link to it have one again after $WAIT_SECONDS s"
    return 1
}

say_missing() {
    local service
    for service in $(missing_services); do
        say "$service does not run yet: $(last_error "$service")"
    done
}
say_last_words() {
    say "last words of $1:"
    docker service logs --raw --tail 5 "${STACK}_$1" 2>&1 | sed 's/^/swarm:   /' >&2 || true
}

deploy_all() {
    local started=$SECONDS total missing service shown="" complained=$SECONDS
    total=$(services | wc -l | tr -d ' ')
    say "deploying $total services"
    stack_deploy --prune <"$STACK_FILE"
    while ((SECONDS - started < WAIT_SECONDS)); do
        missing=$(missing_services | wc -l | tr -d ' ')
        if [[ $missing != "$shown" ]]; then
            say "$((total - missing)) of $total services run"
            shown=$missing
            complained=$SECONDS
        fi
        [[ $missing != 0 ]] || return 0
        # Whoever waits should know for what, long before the time is up.
        if ((SECONDS - complained >= 20)); then
            say_missing
            complained=$SECONDS
        fi
        sleep 0.5
    done
    say_missing
    for service in $(missing_services); do say_last_words "$service"; done
    return 1
}

# Swarm's update_config speaks of the tasks of one service, and here every service is one task: the
# order among services is ours to keep. One is replaced, and the next waits until it is ready again,
# so a quorum of acceptors, a proposer, a learner and a client are always there.
update_one_by_one() {
    local service before task answer links count=0
    # The discovery service first: it is the one everybody can do without.
    for service in $(services); do
        before=$(task_template "$service")
        task=$(current_task "$service")
        links=$(links_of "$(page_port "$service")")
        if ! answer=$(stack_file_of "$service" | stack_deploy 2>&1); then
            die "$EXIT_FAILED" "$service could not be updated, and what comes after it was left as it was: $answer"
        fi
        if [[ $(task_template "$service") == "$before" ]]; then
            continue
        fi
        if [[ -z $before ]]; then
            # It is no member yet, so it cannot become ready.
            say "$service is new: make it a member (paxos member add; an acceptor: $0 replace $service)"
            wait_until_running "$service" || die "$EXIT_FAILED" "the update stopped at $service; what comes after it was left as it was"
            continue
        fi
        count=$((count + 1))
        say "replacing $service"
        if ! wait_until_running "$service" "${task%% *}" || ! wait_until_ready "$service" ||
            ! wait_until_linked "$service" "$links"; then
            die "$EXIT_FAILED" "the update stopped at $service; what comes after it was left as it was"
        fi
    done
    say "$count services replaced, one at a time"
    # Services that the file no longer names.
    stack_deploy --prune <"$STACK_FILE" >/dev/null 2>&1
}

wait_until_gone() {
    local deadline=$((SECONDS + WAIT_SECONDS))
    while [[ -n $(leftovers) ]]; do
        if ((SECONDS >= deadline)); then
            leftovers | sed 's/^/swarm:   /' >&2
            die "$EXIT_FAILED" "these containers and networks of the stack are still there after $WAIT_SECONDS s"
        fi
        sleep 0.5
    done
}

# ---- commands ------------------------------------------------------------------------------------

up() {
    require_manager init
    say "Docker engine $(engine_version), Swarm manager"
    check_configuration
    if [[ -z $(deployed_services) ]]; then
        if [[ -n $(leftovers) ]]; then
            say "a stack that was removed is still going down; waiting"
            wait_until_gone
        fi
        check_ports
        build_image
        make_secret
        make_configuration
        label_machines
        deploy_all || die "$EXIT_FAILED" "not every service came up; docker stack ps $STACK --no-trunc tells more"
        forget_old
        return 0
    fi
    build_image
    make_secret
    make_configuration
    label_machines
    # With services down there is no quorum to keep, and waiting for it would keep a repair from
    # reaching the others.
    if [[ -z $(missing_services) ]]; then
        say "the stack runs; services that changed are replaced one at a time"
        update_one_by_one
    else
        say "the stack is there and not whole; all services are brought up to date at once"
        deploy_all || die "$EXIT_FAILED" "not every service came up; docker stack ps $STACK --no-trunc tells more"
    fi
    forget_old
}

down() {
    if ! require_manager look; then
        say "this machine is in no Swarm: nothing runs"
        return 0
    fi
    if [[ -n $(deployed_services) ]]; then
        say "removing the stack; volumes stay"
        docker stack rm "$STACK" >/dev/null 2>&1
    fi
    wait_until_gone
    say "the stack is gone"
}

reset() {
    local volumes=()
    [[ ${1:-} == --yes ]] || die "$EXIT_USAGE" "reset deletes the data: say reset --yes"
    down
    # By label and not by name: a volume that merely begins with paxos_ is somebody's own.
    read -r -a volumes <<<"$(docker volume ls --quiet --filter "$(of_stack)" | tr '\n' ' ')"
    forget_jobs
    if [[ ${#volumes[@]} -gt 0 ]]; then
        docker volume rm "${volumes[@]}" >/dev/null
    fi
    say "${#volumes[@]} volumes deleted on this machine"
}

# `paxos member ...` at the doors: in a client node's container, which knows the password, or in one
# of its own.
member() {
    local container words
    read -r -a words <<<"$(doors)"
    container=$(docker ps --quiet --filter "$(of_stack)" --filter health=healthy --filter "name=${STACK}_client-" | sed -n 1p)
    if [[ -n $container ]]; then
        docker exec "$container" paxos member "$@" "${words[@]}"
    else
        docker run --rm --network "${STACK}_cluster" --env PAXOS_SECURITY_PASSWORD "$IMAGE" member "$@" "${words[@]}"
    fi
}

# Runs once where a service's volume is: $1 = the service, the rest = what to do, in the nodes' image.
on_volume_of() {
    local service=$1 job="${STACK}_on-$1" configuration answer=0
    shift
    configuration=$(docker service inspect --format \
        '{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{if eq .File.Name "paxos.toml"}}{{.SecretName}}{{end}}{{end}}' "${STACK}_$service")
    docker service rm "$job" >/dev/null 2>&1 || true
    timeout "$WAIT_SECONDS" docker service create --quiet --detach=false --name "$job" --mode replicated-job --restart-condition none \
        --constraint "node.labels.$STACK.$service == true" --no-resolve-image \
        --mount "type=volume,source=${STACK}_$service,target=/data" \
        --secret "source=$configuration,target=paxos.toml,uid=10001,gid=10001,mode=0400" \
        --env PAXOS_CONFIG=/run/secrets/paxos.toml --env PAXOS_DATA=/data --entrypoint sh \
        "$IMAGE" -c "$*" >/dev/null 2>&1 || answer=1
    docker service ps --format '{{.CurrentState}}' "$job" 2>/dev/null | grep -q '^Complete' || answer=1
    docker service logs --raw "$job" 2>&1 | sed 's/^/swarm:   /' >&2 || true
    docker service rm "$job" >/dev/null 2>&1 || true
    forget_jobs
    return "$answer"
}

# The containers of jobs that are done: the engine may keep them, and with them their volumes, though
# the service is gone. On this machine; elsewhere they are in nobody's way but reset's.
forget_jobs() {
    local containers
    mapfile -t containers < <(docker ps --all --quiet --filter status=exited --filter "name=^${STACK}_on-")
    [[ ${#containers[@]} == 0 ]] || docker rm "${containers[@]}" >/dev/null 2>&1 || true
}

scale() { docker service scale --detach=false "${STACK}_$1=$2" >/dev/null 2>&1 || true; }

wait_until_down() {
    local service=$1 deadline=$((SECONDS + WAIT_SECONDS))
    scale "$service" 0
    while [[ -n $(docker service ps --quiet --filter desired-state=running "${STACK}_$service" 2>/dev/null) ||
        -n $(docker ps --quiet --filter "name=${STACK}_$service\\.") ]]; do
        ((SECONDS < deadline)) || die "$EXIT_FAILED" "$service still runs after $WAIT_SECONDS s"
        sleep 0.5
    done
}

# Each step can be done again: after an interruption, say the same once more.
replace() {
    local service=${1:-} life=${2:-} listed cluster node=""
    services | grep -qx -- "$service" || die "$EXIT_USAGE" "replace needs one of: $(services | tr '\n' ' ')"
    [[ $life =~ ^[0-9]*$ ]] || die "$EXIT_USAGE" "a life is a number: $life"
    require_manager look || die "$EXIT_FAILED" "the stack is not deployed"
    [[ -n $(deployed_services) ]] || die "$EXIT_FAILED" "the stack is not deployed"
    IMAGE=$(docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "${STACK}_$service")
    if [[ $service == acceptor-* ]]; then
        listed=$(member list --json) || die "$EXIT_FAILED" "no client node tells who the members are"
        read -r cluster node <<<"$(python3 -I -S -c 'import json, sys
one = json.load(sys.stdin)
there = [m["node"] for m in one["members"] if m["node"].split(".")[0] == sys.argv[1]]
print(one["cluster"], *there)' "$service" <<<"$listed")"
        if [[ -n $node ]]; then
            say "taking $node out of the cluster"
            member remove "$node" >/dev/null || die "$EXIT_FAILED" "$node was not taken out; it may be said again"
            [[ -n $life ]] || life=$(($([[ $node == *.* ]] && printf '%s' "${node##*.}" || printf 0) + 1))
        fi
    fi
    say "stopping $service"
    wait_until_down "$service"
    case $service in
        acceptor-*)
            say "making a new volume; the old one is kept aside"
            on_volume_of "$service" "paxos member format $service --cluster $cluster ${life:+--life $life} --aside" ||
                die "$EXIT_FAILED" "no volume was made; where nothing tells which life it is: replace $service LIFE"
            ;;
        proposer-* | learner-*)
            on_volume_of "$service" "mkdir -p /data/aside && if [ -e /data/$service ]; then mv /data/$service /data/aside/$service-\$(date -u +%Y%m%dT%H%M%SZ); fi" ||
                die "$EXIT_FAILED" "the volume could not be moved aside"
            ;;
    esac
    scale "$service" 1
    wait_until_running "$service" || die "$EXIT_FAILED" "$service did not come up"
    if [[ $service == acceptor-* ]]; then
        # Which life was made, its own page tells, where it can be asked.
        node=$service
        [[ -z $life || $life == 0 ]] || node=$service.$life
        [[ -n $life ]] || node=$(node_at "$(page_port "$service")")
        say "making $node a member"
        member add "$node" --timeout "$WAIT_SECONDS" >/dev/null ||
            die "$EXIT_FAILED" "$node is not a member; say: paxos member add $node --door ..."
    fi
    wait_until_ready "$service" || die "$EXIT_FAILED" "$service is not ready"
    say "$service is replaced"
}

status() {
    local service task port readiness
    if ! require_manager look || [[ -z $(deployed_services) ]]; then
        say "the stack is not deployed"
        return "$EXIT_FAILED"
    fi
    printf '%-12s %-6s %-12s %s\n' service page task ready
    for service in $(services); do
        task=$(current_task "$service")
        port=$(page_port "$service")
        readiness=no
        if is_ready "$port"; then readiness=yes; fi
        printf '%-12s %-6s %-12s %s\n' "$service" "$port" "${task##* }" "$readiness"
    done
}

case "${1:-}" in
    up | down | status)
        [[ $# == 1 ]] || die "$EXIT_USAGE" "$1 takes no argument"
        "$1"
        ;;
    reset | replace)
        "$@"
        ;;
    *)
        sed -n '2,/^set -e/{/^set/d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" >&2
        exit "$EXIT_USAGE"
        ;;
esac
