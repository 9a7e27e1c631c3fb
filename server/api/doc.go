// Package api is the server API for backends, in the form that Centrifugo's client
// libraries use: publish, broadcast, subscribe, unsubscribe, disconnect, refresh, presence,
// presence_stats, history, history_remove, channels, info, rpc and batch, and connections
// as an addition. openapi.yaml describes them; a test keeps it true.
//
// [Calls] is what the calls mean, over plain requests and results: what is required, what
// is assumed, what the [Service] is asked. The HTTP [Handler] here and the gRPC server in
// rpc are fronts of it. The node implements the Service; the package knows nothing else of
// it.
//
// Every HTTP call is a POST with a JSON body to /api/<method>, authenticated by
// X-API-Key, by "Authorization: apikey KEY" or by ?api_key=KEY. The answer is
// HTTP 200 with {"result":…} or {"error":{"code":…,"message":…}}; with the
// header "X-Centrifugo-Error-Mode: transport" errors are HTTP statuses, and the body is
// the error alone. A body that cannot be decoded is HTTP 400 always.
//
// publish, broadcast and batch are decoded by hand and answered by append, with the
// meaning of encoding/json for every body; the rest goes through encoding/json. Of a
// request nothing is kept when it is answered but what the service got, which is its own.
package api
