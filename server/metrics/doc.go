// Package metrics names every metric of the server in one table (table.go) and writes them in the Prometheus text format,
// over github.com/VictoriaMetrics/metrics, which only this package imports.
//
// Nothing on a hot path calls it: the floors below count for themselves and are asked for a snapshot when somebody scrapes.
// A snapshot is a plain struct of this package, filled in by server/program.go, so no floor imports another for its counters.
//
// Names are noun_unit_total for counters; the websocket_ family is the one the WebSocket field knows, all others begin
// with shoal_. Labels are enumerations (reasons, codes, methods): never a channel, a user or an address.
package metrics
