// Package progress shows a person how far a load test is: on a terminal as a few lines that rewrite themselves, elsewhere as a line now
// and then. It is told what to show and when it is; it knows no clock, and writes nothing but text and three escape sequences.
package progress
