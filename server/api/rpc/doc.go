// Package rpc is the server API over gRPC: the service
// centrifugal.centrifugo.api.CentrifugoApi with the methods, messages and field numbers
// that Centrifugo publishes, so that backends change an address and nothing else.
//
// It converts and does nothing of its own: what a call means, which fields it needs and
// what they are by default is [api.Calls], which the HTTP front uses too.
//
// # Authentication
//
// Every call carries the metadata "authorization: apikey KEY"; without it the call is
// refused with UNAUTHENTICATED before its message is read. That is the default here;
// Centrifugo's gRPC API lets everybody in unless a key is set.
//
// # Errors
//
// The error of a call is in its response, as in HTTP, and the gRPC status is OK. With the
// metadata "x-centrifugo-error-mode: transport", or Config.Transport, it is a gRPC status
// with the error as its detail. Bugs, refused messages and methods that are not served
// are gRPC statuses always.
package rpc
