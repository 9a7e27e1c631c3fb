package channel

import (
	"bytes"
	"strings"
)

// Position is a place in a channel's stream: the offset of a publication and the
// epoch of the stream it belongs to. The zero value means that the channel keeps
// no stream, or that nothing was published yet.
type Position struct {
	Offset uint64
	Epoch  string
}

// ClientInfo says which session published, or is present in, a channel.
type ClientInfo struct {
	User     string
	Client   string
	ConnInfo []byte // raw JSON or bytes given at connect; nil for none
	ChanInfo []byte // given at subscribe; nil for none
}

// Clone returns a copy that shares nothing with i.
func (i ClientInfo) Clone() ClientInfo {
	return ClientInfo{
		User: strings.Clone(i.User), Client: strings.Clone(i.Client),
		ConnInfo: bytes.Clone(i.ConnInfo), ChanInfo: bytes.Clone(i.ChanInfo),
	}
}

// Publication is one message in a channel. Data is raw JSON for channels that
// JSON sessions read, any bytes otherwise. The fields are read-only once it has
// been given to a broker.
type Publication struct {
	Position
	Data []byte
	Info *ClientInfo       // nil when published by the backend
	Tags map[string]string // nil for none
	Time int64             // Unix milliseconds; 0 for none

	Exclude string // id of the client that does not get it; empty: everybody does
	// Prev is the data of the publication before it in the stream, for a difference;
	// nil when none is wanted or there is none. Set by the broker.
	Prev []byte
}

// Signal is a session's coming to, or leaving of, a channel, told to its members.
type Signal struct {
	Leave bool // else a join
	Info  ClientInfo
}
