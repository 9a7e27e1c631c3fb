// Package backend is what a server asks of the application behind it: who a client
// is, whether it may subscribe or publish, and the answer to its RPC. The proxies of
// server/api/hooks ask over HTTP or gRPC; a program that embeds the server answers by
// functions of its own.
package backend
