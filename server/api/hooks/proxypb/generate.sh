#!/bin/sh
# Writes proxy.pb.go and proxy_grpc.pb.go from proxy.proto. Needs protoc (Debian: protobuf-compiler) and Go; the two
# plugins are built into a private folder at the pinned versions, nothing is installed on the machine. The schema is
# registered as shoal/proxy.proto so that it never collides with another proxy.proto.
set -eu
cd "$(dirname "$0")/../../../.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN="$bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6
GOBIN="$bin" go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
PATH="$bin:$PATH" protoc --proto_path=shoal=server/api/hooks/proxypb \
	--go_out=. --go_opt=module=shoal \
	--go-grpc_out=. --go-grpc_opt=module=shoal \
	server/api/hooks/proxypb/proxy.proto
