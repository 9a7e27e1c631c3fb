#!/usr/bin/env bash
# The scenarios channels, slow and storm, each against a fresh server, server and clients on different cores. Every one prints its
# figures; the first whose invariant breaks ends the script with its exit code. "make bench-pressure" calls it.
#
#   pressure.sh BINARY      CONNS=15000 STALL=60s PORT=8100 SERVER_CPU=0 CLIENT_CPU=1
set -euo pipefail
bin=$1
conns=${CONNS:-15000} stall=${STALL:-60s} port=${PORT:-8100} server_cpu=${SERVER_CPU:-0} client_cpu=${CLIENT_CPU:-1}

server=""
stop() {
	[ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
	server=""
}
trap stop EXIT

against() { # name, then the load test's flags
	echo "== $1"
	shift
	taskset -c "$server_cpu" "$bin" serve --dev --http_server.port="$port" --loop.loops=1 --log.level=warn \
		--channel.without_namespace.history_size=1000 --client.recovery_max_publication_limit=0 >/dev/null 2>&1 &
	server=$!
	taskset -c "$client_cpu" "$bin" loadtest --target "127.0.0.1:$port" --api-key dev --wait 10s --quiet --busy-poll --server-pid "$server" "$@"
	stop
}

few=$(((conns + 9) / 10))
against "1,000 channels, one for each connection" -n "$conns" --scenario channels --channels 1000 --subscriptions 1 --publish-rate 5000
against "20 of 20 busy channels each" -n "$few" --scenario channels --channels 20 --publish-rate 50
against "20 of 1,000 channels each" -n "$few" --scenario channels --channels 1000 --subscriptions 20 --publish-rate 2500
against "a third does not read" -n "$conns" --scenario slow --stall "$stall" --payload 4096 --settle 2s
against "a storm" -n "$conns" --scenario storm --channels 1000 --subscriptions 1 --publish-rate 100
against "a storm, back by resume token" -n "$conns" --scenario storm --channels 1000 --subscriptions 1 --publish-rate 100 --resume
