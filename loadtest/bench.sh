#!/usr/bin/env bash
# Measures a cold server process with real connections, server and clients on different cores. "make bench-process" calls it;
# the figures are those of server/docs/BUDGET.md.
#
#   bench.sh BINARY      CONNS=15000 ROUNDS=5 PORT=8100 SERVER_CPU=0 CLIENT_CPU=1
set -euo pipefail
bin=$1
conns=${CONNS:-15000} rounds=${ROUNDS:-5} port=${PORT:-8100} server_cpu=${SERVER_CPU:-0} client_cpu=${CLIENT_CPU:-1}
settle=12 # seconds after traffic: two periods in which memory is given back, and some

server="" holder="" pipe=""
stop() {
	[ -z "$pipe" ] || exec 9>&- || true
	for pid in $holder $server; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	server="" holder="" pipe=""
}
trap stop EXIT

rss() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$server/status"; }
goroutines() { curl -sf "http://127.0.0.1:$port/debug/pprof/goroutine?debug=1" | awk 'NR == 1 { print $NF }'; }
load() {
	taskset -c "$client_cpu" "$bin" loadtest --target "ws://127.0.0.1:$port/connection/websocket" --api-key dev --wait 10s --quiet "$@"
}
report() { grep -E "$1" || { echo "the load test failed" >&2; exit 1; }; }

for round in $(seq "$rounds"); do
	taskset -c "$server_cpu" "$bin" serve --dev --echo /echo --http_server.port="$port" --log.level=warn \
		--loop.memory_trim_period=5s >/dev/null 2>&1 &
	server=$!
	for _ in $(seq 100); do
		curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
		sleep 0.1
	done
	sleep 1
	base=$(rss) before=$(goroutines)

	echo "== round $round: $conns connections, connected and subscribed"
	pipe=$(mktemp -u) && mkfifo "$pipe"
	load --scenario idle -n "$conns" --channel bench --duration 2s --server-pid "$server" --busy-poll --hold --events <"$pipe" >"$pipe.out" 2>"$pipe.err" &
	holder=$!
	exec 9>"$pipe"
	until grep -q '"event":"ready"' "$pipe.out"; do
		kill -0 "$holder" 2>/dev/null || { cat "$pipe.err" >&2; exit 1; }
		sleep 0.2
	done
	echo "   idle: $((($(rss) - base) / conns)) B RSS a connection; goroutines $before before, $(goroutines) now"

	echo "-- echo flood by 1,000 more"
	load --scenario echo -n 1000 --echo-path /echo --duration 3s --server-pid "$server" | report 'echoes|round trip|  message'
	echo "-- 40 broadcasts to all"
	for i in $(seq 40); do
		curl -sf -H 'X-API-Key: dev' -d "{\"channel\":\"bench\",\"data\":{\"n\":$i}}" "http://127.0.0.1:$port/api/publish" >/dev/null
	done
	sleep "$settle"
	echo "   after traffic: $((($(rss) - base) / conns)) B RSS a connection"
	exec 9>&-
	wait "$holder" || { cat "$pipe.err" >&2; exit 1; }
	holder=""
	grep -E 'connect  |connections  |others' "$pipe.err" || true

	echo "-- fan-out, one publication after the other"
	load --scenario fanout -n "$conns" --publications 10 --server-pid "$server" --busy-poll | report 'received|receipt|  message'
	rm -f "$pipe" "$pipe.out" "$pipe.err"
	stop
done
