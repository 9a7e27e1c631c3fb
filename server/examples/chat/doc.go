// Command chat is a chat inside an ordinary net/http server: its own pages and sessions, and a Shoal on /live that asks
// its callbacks. Run it and open http://localhost:8080/ in two windows:
//
//	go run ./server/examples/chat
//
// It shows how a host application embeds package server: [server.New] without a listener, [server.Program.Handler] in
// the application's mux, its session cookie in OnConnecting, rooms in OnSubscribe, and publications from Go.
package main
