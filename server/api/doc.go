// Package api is the HTTP server API for backends: publish, broadcast, channels,
// info and disconnect, in the form that Centrifugo's client libraries use.
//
// Every call is a POST with a JSON body to /api/<method>, authenticated by
// X-API-Key, by "Authorization: apikey KEY" or by ?api_key=KEY. The answer is
// HTTP 200 with {"result":…} or {"error":{"code":…,"message":…}}; with the
// header "X-Centrifugo-Error-Mode: transport" errors are HTTP statuses as well.
//
// The package knows the [Service] only; the node implements it.
package api
