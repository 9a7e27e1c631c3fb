package channel

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

// Publication is one message in a channel. Data is raw JSON for channels that
// JSON sessions read, any bytes otherwise. The fields are read-only once it has
// been given to a broker.
type Publication struct {
	Position
	Data []byte
	Info *ClientInfo       // nil when published by the backend
	Tags map[string]string // nil for none
	Time int64             // Unix milliseconds; 0 for none
}
