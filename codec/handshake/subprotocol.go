package handshake

// Subprotocol is a WebSocket subprotocol this server speaks. Responses can only carry one of these constants, never bytes of a
// request, so nothing can be smuggled into a response header.
type Subprotocol uint8

// The subprotocols of the client protocol. NoSubprotocol: none was agreed; the client protocol is then JSON unless the URL says otherwise.
const (
	NoSubprotocol Subprotocol = iota
	JSON
	Protobuf
	MessagePack // an addition of this server; no stock client asks for it
)

// String returns the name on the wire, empty for NoSubprotocol.
func (s Subprotocol) String() string {
	switch s {
	case JSON:
		return "centrifuge-json"
	case Protobuf:
		return "centrifuge-protobuf"
	case MessagePack:
		return "shoal-msgpack"
	}
	return ""
}

// subprotocolOf returns the subprotocol called name. Names are compared as they are, case included (RFC 6455 §11.5: tokens).
func subprotocolOf(name []byte) Subprotocol {
	switch string(name) {
	case "centrifuge-json":
		return JSON
	case "centrifuge-protobuf":
		return Protobuf
	case "shoal-msgpack":
		return MessagePack
	}
	return NoSubprotocol
}

// ChooseSubprotocol returns the first subprotocol of the client's list that the server speaks: the list is in the client's order of
// preference (RFC 6455 §4.1 item 10). NoSubprotocol when there is none: the response then names none, and a client that insists fails the
// connection itself (§4.1).
func ChooseSubprotocol(req *Request) Subprotocol {
	for _, list := range req.Protocols.line[:req.Protocols.n] {
		for len(list) > 0 {
			var name []byte
			name, list = cutElement(list)
			if s := subprotocolOf(name); s != NoSubprotocol {
				return s
			}
		}
	}
	return NoSubprotocol
}
