// Package admin holds the pages that are served from the binary. They are clients
// of the API and of the client protocol and know nothing else of the server.
package admin
