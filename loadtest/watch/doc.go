// Package watch looks at a load test and its target from time to time, from start to end, for the timeline of the report. It is a
// goroutine of its own, so that a target that does not answer holds nothing up, and it looks the more seldom the more a look costs.
package watch
