#!/usr/bin/env bash
# Measures what server/docs/pressure shows, and leaves a report of each run in a folder: figure__series__x__round.json. Rounds are
# interleaved, so that a busy neighbour of this machine meets all of them. About 12 minutes. "make bench-curves" calls it and draws.
#
#   curves.sh BINARY FOLDER [FIGURE…]      CONNS=15000 STALL=60s ROUNDS=3 NICE=0 PORT=8100 SERVER_CPU=0 CLIENT_CPU=1
#
# FIGURE: batch_delay, burst, storm, slow; all by default. NICE=-10 (as root) has the measured go before other work of this machine.
set -euo pipefail
bin=$1 out=$2
shift 2
only=" ${*:-batch_delay burst storm slow} "
nice=(nice -n "${NICE:-0}")
conns=${CONNS:-15000} stall=${STALL:-60s} rounds=${ROUNDS:-3} port=${PORT:-8100} server_cpu=${SERVER_CPU:-0} client_cpu=${CLIENT_CPU:-1}
few=$(((conns + 9) / 10))
mkdir -p "$out"

server=""
stop() {
	[ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
	server=""
}
trap stop EXIT

serve=()   # flags of the next server
measure() { # name of the report, then the load test's flags; what fails is played again, twice at most
	local name=$1 try
	shift
	[[ $only == *" ${name%%__*} "* ]] || return 0
	for try in 1 2 3; do
		echo "== $name"
		"${nice[@]}" taskset -c "$server_cpu" "$bin" serve --dev --http_server.port="$port" --loop.loops=1 --log.level=warn \
			--channel.without_namespace.history_size=100 --client.ping_interval=5m --client.pong_timeout=1m "${serve[@]}" >/dev/null 2>&1 &
		server=$!
		"${nice[@]}" taskset -c "$client_cpu" "$bin" loadtest --target "127.0.0.1:$port" --api-key dev --wait 10s --quiet --server-pid "$server" \
			--json "$out/$name.json" "$@" | grep -E 'each receipt|deliveries|message |memory|own time|FAILED|  - ' && { stop; return 0; }
		stop
	done
	echo "$name failed three times" >&2
	return 1
}

for round in $(seq "$rounds"); do
	for delay in 0 1 2 5 10 20 50; do
		serve=(--channel.without_namespace.batch_max_delay="${delay}ms")
		measure "batch_delay____${delay}__$round" --busy-poll -n "$few" --scenario channels --channels 20 --publish-rate 400 --duration 4s
	done
	for burst in 1 2 5 10 20 50; do
		serve=()
		measure "burst____${burst}__$round" --busy-poll -n "$conns" --scenario fanout --burst "$burst" --publications $((burst < 20 ? burst * 20 : burst * 10))
	done
	serve=(--channel.without_namespace.history_size=1000 --client.recovery_max_publication_limit=0)
	storm=(--busy-poll -n "$conns" --scenario storm --channels 1000 --subscriptions 1 --publish-rate 100 --duration 1s)
	measure "storm__anew__0__$round" "${storm[@]}"
	measure "storm__by_resume_token__0__$round" "${storm[@]}" --resume
done
printf 'channel: {without_namespace: {conflate_tag: key, allowed_delta_types: []}}' >"$out/slow.yaml" # conflate bears no deltas
for policy in disconnect drop_oldest drop_newest latest conflate; do
	serve=(--config "$out/slow.yaml" --channel.without_namespace.slow_policy="$policy")
	measure "slow__${policy}__0__1" -n "$conns" --scenario slow --stall "$stall" --payload 4096 --keys 8 --duration 8s
done
