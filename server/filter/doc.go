// Package filter compiles and runs tags filters: the condition on a publication's tags that a client may attach to a
// subscription (subscribe.tf), so that it receives only what it is interested in. It is pure; every function may run
// concurrently.
//
// A filter is a tree. Its leaves compare the value of one tag, and/or/not join them:
//
//	cmp          matches when                                          a missing tag
//	eq, neq      the value is, is not, val                             neq matches
//	in, nin      the value is, is not, one of vals                     counts as ""
//	ex, nex      the tag exists, does not                              nex matches
//	sw, ew, ct   the value starts with, ends with, contains val        no match
//	gt gte lt lte  the value is a number and >, ≥, <, ≤ the number val  no match
//
// Numbers are decimal: an optional sign, digits, and optionally a point with 1 to 19 digits behind it, 200 characters at
// most. They are compared exactly, never as floats. A value or val that is no number does not match; a val of this
// kind is not an error either, as with the stock server.
//
// Compile turns the tree into a program, Match runs a program. A program is a string of bytes with these properties:
// equal filters, whatever the order of their parts, give equal programs, so that programs can be interned and compared;
// and any bytes whatsoever can be given to Match without harm.
package filter
