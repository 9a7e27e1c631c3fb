// Package answer reads HTTP responses from a stream of bytes: those of the server API, and what a server says of itself. No
// socket, no clock.
package answer
