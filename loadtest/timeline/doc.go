// Package timeline is how a load test went over time, and how its latencies are distributed: values that are bounded however long a
// test takes, made to be drawn. It knows no clock and no process: it is told.
package timeline
