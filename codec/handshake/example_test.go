package handshake_test

import (
	"fmt"
	"strings"

	"shoal/codec/handshake"
)

// A server reads until the head is complete, then answers it.
func Example() {
	arriving := []string{
		"GET /connection/websocket HTTP/1.1\r\nHost: h\r\nUpgrade: webso",
		"cket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		"Sec-WebSocket-Protocol: chat, centrifuge-json\r\n\r\n",
	}
	var (
		parser handshake.Parser
		req    handshake.Request
		buf    []byte
	)
	for _, piece := range arriving {
		buf = append(buf, piece...)
		n, status := parser.Parse(buf, handshake.Limits{}, &req)
		fmt.Println(status, n)
		if status != handshake.Done {
			continue
		}
		if status = handshake.CheckUpgrade(&req, &handshake.Config{}); status.Failed() {
			fmt.Printf("%s", handshake.AppendRefusal(nil, status))
			return
		}
		out := handshake.AppendResponse(nil, req.Key, handshake.ChooseSubprotocol(&req), nil)
		fmt.Print(strings.ReplaceAll(string(out), "\r", ""))
	}
	// Output:
	// need-more 0
	// need-more 0
	// done 207
	// HTTP/1.1 101 Switching Protocols
	// Upgrade: websocket
	// Connection: Upgrade
	// Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
	// Sec-WebSocket-Protocol: centrifuge-json
}
