#!/usr/bin/env bash
# The scenarios under pressure, each against a fresh server, server and clients on different cores. Every one prints its figures and
# fails when a promise breaks (order, exactly once, losses told and counted, everybody back) or a figure is not reached. All are
# played; the exit code is 1 when one failed. "make bench-pressure" calls it.
#
#   pressure.sh BINARY [NAME…]      CONNS=15000 STALL=60s POLICIES="disconnect …" EXPECT=no PORT=8100 SERVER_CPU=0 CLIENT_CPU=1
#
# NAME: only those whose name contains one of these words. EXPECT=no leaves the figures out and keeps the promises: for machines with
# busy neighbours, or other hardware than that of server/docs/PRESSURE.md.
set -euo pipefail
bin=$1
shift
only=("$@")
conns=${CONNS:-15000} stall=${STALL:-60s} port=${PORT:-8100} server_cpu=${SERVER_CPU:-0} client_cpu=${CLIENT_CPU:-1}
policies=${POLICIES:-disconnect drop_oldest drop_newest latest conflate}
few=$(((conns + 9) / 10))
failed=() reports=$(mktemp -d) server=""

stop() {
	[ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
	server=""
}
trap 'stop; rm -rf "$reports"' EXIT

wanted() {
	[ ${#only[@]} -gt 0 ] || return 0
	local word
	for word in "${only[@]}"; do [[ $1 != *"$word"* ]] || return 0; done
	return 1
}

serve=()   # flags of the next server
against() { # name, figures to reach, then the load test's flags
	local name=$1 expect=$2
	shift 2
	wanted "$name" || return 0
	[ "${EXPECT:-yes}" != no ] || expect=
	echo "== $name"
	taskset -c "$server_cpu" "$bin" serve --dev --http_server.port="$port" --loop.loops=1 --log.level=warn "${serve[@]}" >"$reports/log" 2>&1 &
	server=$!
	taskset -c "$client_cpu" "$bin" loadtest --target "127.0.0.1:$port" --api-key dev --wait 10s --quiet --busy-poll --server-pid "$server" \
		--expect "$expect" --json "$reports/$name.json" "$@" || { failed+=("$name"); tail -3 "$reports/log" >&2; }
	stop
}

# A collection's own stop takes some 0.1 ms. With all threads of the server on one core it lasts until those have run that the kernel
# has preempted: a busy server is given more time.
all=lag=5ms,gc=3ms,rss_growth=64MB
against "1,000 channels, one for each connection" "p99=20ms,$all" -n "$conns" --scenario channels --channels 1000 --subscriptions 1 --publish-rate 5000
against "20 of 20 busy channels each" "$all" -n "$few" --scenario channels --channels 20 --publish-rate 50
against "20 of 1,000 channels each" "$all" -n "$few" --scenario channels --channels 1000 --subscriptions 20 --publish-rate 2500
against "bursts of 20" "cpu=500ns,rate=2000000,lag=5ms,gc=3ms" -n "$conns" --scenario fanout --publications 400 --burst 20

# Pings would find out who does not read before the policy has to: they are rare in all of these but one.
ns=--channel.without_namespace
slow=(-n "$conns" --scenario slow --stall "$stall" --payload 4096 --keys 8 --settle 2s)
printf 'channel: {without_namespace: {conflate_tag: key, allowed_delta_types: []}}' >"$reports/slow.yaml" # conflate bears no deltas
for policy in $policies; do
	serve=(--config "$reports/slow.yaml" --client.ping_interval=5m --client.pong_timeout=1m $ns.history_size=100 $ns.slow_policy="$policy")
	against "a third does not read, slow_policy $policy" "p99_ratio=2,$all" "${slow[@]}"
done
serve=($ns.history_size=100)
against "a third does not read, cut for their silence" "p99_ratio=2,$all" "${slow[@]}"

serve=($ns.history_size=1000 --client.recovery_max_publication_limit=0)
storm=(-n "$conns" --scenario storm --channels 1000 --subscriptions 1 --publish-rate 100)
against "a storm" "back=3s,$all" "${storm[@]}"
against "a storm, back by resume token" "back=3s,$all" "${storm[@]}" --resume

cost() { sed -n 's/.*"cpu_us_per_return": \([0-9.]*\).*/\1/p' "$reports/$1.json" 2>/dev/null; }
without=$(cost "a storm") with=$(cost "a storm, back by resume token")
if [ -n "$without" ] && [ -n "$with" ]; then
	echo "== a return costs $without µs of processor time, by resume token $with µs"
fi
[ ${#failed[@]} -eq 0 ] || { printf 'FAILED: %s\n' "${failed[@]}" >&2; exit 1; }
