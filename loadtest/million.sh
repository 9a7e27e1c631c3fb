#!/usr/bin/env bash
# One million connections to one server on one machine: connected, each with a token of its own, subscribed to a channel of all and to one
# of its own, held with heartbeats, then a message to everybody and 10,000 to single ones, all verified. The plan is million.yaml, "make million"
# calls this, README.md tells what to expect.
#
#   million.sh BINARY [FLAG…]      CONNS=1000000 HOLD=2m BROADCASTS=1 OUT=bin/million EXPECT=… SERVE=… PORT=8000 SERVER_CPU=0 CLIENT_CPU=1 NAMESPACE=yes
#
# Server and load test are a process each, on a core of their own; a limit on descriptors does not matter, since every event loop takes a
# table of its own where the process's is too small. As root both run in a network namespace made for them: nothing of it can reach other programs, and the kernel's table of
# connections is large enough there (it is made at boot for far fewer, and every packet of a million would search it). NAMESPACE=no stays
# outside. BROADCASTS are a second apart. FLAGs are the load test's. Where the host is too small the load test says what is missing, and nothing is left behind.
set -euo pipefail
bin=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")
conns=${CONNS:-1000000} hold=${HOLD:-2m} port=${PORT:-8000} server_cpu=${SERVER_CPU:-0} client_cpu=${CLIENT_CPU:-1}
[ "$(nproc)" -gt 1 ] || client_cpu=$server_cpu
out=${OUT:-bin/million}
mkdir -p "$out"
out=$(realpath "$out")

buckets=/proc/sys/net/ipv4/tcp_child_ehash_entries
if [ -z "${INSIDE:-}" ] && [ "${NAMESPACE:-yes}" = yes ] && [ -w "$buckets" ] && command -v ip >/dev/null && unshare -n true 2>/dev/null; then
	before=$(<"$buckets")
	trap 'echo "$before" >"$buckets"' EXIT
	echo $((conns * 4)) >"$buckets" # the kernel takes the next power of two
	INSIDE=yes unshare -n -- bash "$0" "$bin" "$@" & inside=$!
	trap : INT # Ctrl-C ends the load test, and that the rest
	trap 'kill $inside 2>/dev/null || true' TERM
	code=0
	while kill -0 "$inside" 2>/dev/null; do
		code=0
		wait "$inside" || code=$?
	done
	exit "$code"
fi
if [ -n "${INSIDE:-}" ]; then
	ip link set lo up
	echo 65535 >/proc/sys/net/core/somaxconn # those of this namespace
	echo 65535 >/proc/sys/net/ipv4/tcp_max_syn_backlog
fi

limit=$(ulimit -Hn) own=true
if [ "$limit" = unlimited ] || [ "$limit" -gt $((conns + conns / 50 + 1000)) ]; then own=false; fi
secret=$(head -c 24 /dev/urandom | base64)
key=$(head -c 12 /dev/urandom | base64)
umask 077
config=$(mktemp --suffix=.yaml) plan=$(mktemp --suffix=.yaml)
sed "s/duration: 2m/duration: $hold/; s/count: 1$/${BROADCASTS:+rate: 1\n    }count: ${BROADCASTS:-1}/" "$here/million.yaml" >"$plan"
server=""
stop() {
	[ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
	rm -f "$config" "$plan"
}
trap stop EXIT
cat >"$config" <<EOF
http_server: {address: 127.0.0.1, port: $port}
http_api: {key: "$key"}
client:
  token: {hmac_secret_key: "$secret"}
  connection_limit: $((conns + conns / 50))
channel:
  without_namespace: {allow_subscribe_for_client: true}
loop: {own_descriptors: $own}
log: {level: warn}
EOF
# shellcheck disable=SC2086 # SERVE is words
setsid taskset -c "$server_cpu" "$bin" serve -c "$config" ${SERVE:-} >"$out/server.log" 2>&1 &
server=$!
taskset -c "$client_cpu" "$bin" loadtest --target "ws://127.0.0.1:$port/connection/websocket" --wait 10s --server-pid $server \
	--plan "$plan" -n "$conns" --api-key "$key" --secret "$secret" --json "$out/report.json" --html "$out/report.html" \
	${EXPECT:+--expect "$EXPECT"} --timeout 15m "$@" || { code=$?; grep -E 'WARN|ERROR' "$out/server.log" | tail -5 >&2 || true; exit "$code"; }
