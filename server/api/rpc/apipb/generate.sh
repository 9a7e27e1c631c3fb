#!/bin/sh
# Writes api.pb.go and api_grpc.pb.go from api.proto. Needs protoc (Debian: protobuf-compiler) and Go; the two plugins are
# built into a private folder at the pinned versions, nothing is installed on the machine. The schema is registered as
# shoal/api.proto so that it never collides with another api.proto.
set -eu
cd "$(dirname "$0")/../../../.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN="$bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6
GOBIN="$bin" go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
PATH="$bin:$PATH" protoc --proto_path=shoal=server/api/rpc/apipb \
	--go_out=. --go_opt=module=shoal \
	--go-grpc_out=. --go-grpc_opt=module=shoal \
	server/api/rpc/apipb/api.proto
