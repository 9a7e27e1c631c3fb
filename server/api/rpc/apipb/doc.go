// Package apipb is the schema of the gRPC server API, generated from api.proto by
// generate.sh. Its names and numbers are Centrifugo's, so that existing clients work;
// only server/api/rpc uses it.
package apipb
