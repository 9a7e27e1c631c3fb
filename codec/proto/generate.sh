#!/bin/sh
# Writes client.pb.go and client_vtproto.pb.go from client.proto. Needs protoc (Debian: protobuf-compiler) and
# Go; the two plugins are built into a private folder at the pinned versions, nothing is installed on the machine.
# The schema is registered as shoal/client.proto so that it never collides with another client.proto.
set -eu
cd "$(dirname "$0")/../.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN="$bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6
GOBIN="$bin" go install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@v0.6.0
PATH="$bin:$PATH" protoc --proto_path=shoal=codec/proto \
	--go_out=. --go_opt=module=shoal \
	--go-vtproto_out=. --go-vtproto_opt=module=shoal,features=marshal+size+unmarshal_unsafe \
	codec/proto/client.proto
