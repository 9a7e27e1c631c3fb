// Package tally is what a load test counts, in forms that can be added up: of two engines, two processes or two hosts. All of it
// can be written as JSON and read back. Nothing here is safe for concurrent use.
package tally
