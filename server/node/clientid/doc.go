// Package clientid names conns to the outside: a client id is a conn id that was
// encrypted, so that it needs no memory and no index, and cannot be guessed.
package clientid
