package ws

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"shoal/codec/deflate"
	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/buffer"
	"shoal/pool/slab"
	"shoal/server/rate"
)

// Landing is where a loop's messages arrive. All methods run on the loop's
// goroutine; payloads are valid until the method returns and may be modified.
type Landing interface {
	// Open begins a session. nativePing: liveness by WebSocket ping frames instead of
	// protocol pings. deflated: the conn can take publications compressed once for all.
	Open(slot uint32, enc proto.Encoding, nativePing, deflated bool)
	// Headers comes right before Open when [Config.KeepHeaders] names some and the
	// request has any of them: a name as configured and a value as sent for each line, in
	// order of the lines. They are not to be modified.
	Headers(slot uint32, pairs [][2][]byte)
	Alive(slot uint32) // bytes arrived, whatever they are; before their messages
	// Message hands a message on. When the session has to wait for an outcome before it
	// can take another, busy is true: nothing more of the conn is parsed until Resume,
	// which must not be called before Message has returned.
	Message(slot uint32, op ws.Op, payload []byte) (busy bool)
	Pong(slot uint32) // a pong frame arrived
	Timer(slot uint32)
	Shutdown(slot uint32) // the server stops: end the session
	Flooded(slot uint32)  // the client sent too many control frames: end the session
	Cut(slot uint32)      // its backlog is one of the largest, and there is no room: end the session
	Closed(slot uint32, why loop.Reason)
}

// Config is fixed for the life of a transport.
type Config struct {
	Kind             loop.Kind        // the row of the handler table this transport is
	MessageBytesMax  int              // of a message from the client, as sent; 0 = 65,536
	InflatedBytesMax int              // of a message after inflating; 0 = 10 × MessageBytesMax
	Deflate          *deflate.Config  // nil = permessage-deflate is never negotiated
	DeflateBytesMin  int              // shorter messages are sent as they are
	MessageTicks     loop.Tick        // from the first byte of a message to its last; 0 = no limit
	ControlFrames    rate.Limit       // pings of a conn, and pongs that answer none of ours; Count 0 = no limit
	Handshake        handshake.Config // origins
	Subprotocols     bool             // choose an encoding; the echo endpoint has none to choose

	// KeepHeaders names, in lower case, the headers of the request that the landing wants
	// to see; none: nothing is looked for.
	KeepHeaders []string

	// Admission is asked about each valid upgrade; nil lets all in.
	Admission Admission
}

// Admission decides who may come in, on the loop's goroutine.
type Admission interface {
	// Admit may refuse an upgrade, such as at a limit of the node; Done lets it in.
	Admit(slot uint32, req *handshake.Request) handshake.Status
	// Left is told when a conn that was let in has closed.
	Left(slot uint32)
}

const inflateDefault = 10

func (c Config) withDefaults() Config {
	if c.MessageBytesMax == 0 {
		c.MessageBytesMax = ws.MessageBytesMaxDefault
	}
	if c.InflatedBytesMax == 0 {
		c.InflatedBytesMax = inflateDefault * c.MessageBytesMax
	}
	return c
}

// lowerToken says whether s is a token (RFC 9110 §5.6.2) without capital letters.
func lowerToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b <= ' ' || b >= 0x7f || b >= 'A' && b <= 'Z' || strings.IndexByte("\"(),/:;<=>?@[\\]{}", b) >= 0 {
			return false
		}
	}
	return s != ""
}

// conn is the transport's state of one conn.
type conn struct {
	parser ws.Parser
	tail   uint32 // borrowed: what is not parsed yet, in peace an incomplete header or control frame; 0 none
	body   uint32 // borrowed: the pieces of a message so far; 0 none
	flags  flags
	bits   uint8     // permessage-deflate: the window we may use for this conn
	since  loop.Tick // the tick after that in which the incomplete frame or message began; 0 none
}

// connBytes is the budget's figure (BUDGET.md): the parser and 16 bytes.
const connBytes = 40

var _ = [1]struct{}{}[connBytes-unsafe.Sizeof(conn{})]

type flags uint8

const (
	flagDeflate    flags = 1 << iota // permessage-deflate was negotiated
	flagEnded                        // a close frame was sent, or the conn failed: input is ignored
	flagAbandoned                    // a partial frame was given up: the stream cannot go on
	flagBusy                         // the session waits for an outcome: nothing is parsed
	flagPaused                       // and nothing is read
	flagHalfClosed                   // and the peer's end of stream was read
	flagPinged                       // a ping of ours has not been answered
)

// Transport serves the WebSocket conns of one loop. Use [New].
type Transport struct {
	cfg      Config
	limits   [2]ws.Limits // [1] with permessage-deflate
	l        *loop.Loop
	land     Landing
	conns    *slab.Column[conn]
	control  *rate.Meter // of Config.ControlFrames; nil: no limit
	buffers  *buffer.Table
	codec    *deflate.Codec
	keep     [][]byte                     // Config.KeepHeaders
	headers  [][2][]byte                  // of the present request
	inflated []byte                       // the present message
	scratch  []byte                       // a deflated reply
	goodbye  [ws.ControlBytesMax + 2]byte // a close frame
	stats    Stats
}

// New returns the transport of loop l. It borrows from buffers, which transports
// of the same loop may share. codec may be nil when cfg.Deflate is.
func New(l *loop.Loop, land Landing, buffers *buffer.Table, codec *deflate.Codec, cfg Config) (*Transport, error) {
	if cfg.Deflate != nil && codec == nil {
		return nil, errors.New("ws transport: permessage-deflate is configured but there is no codec")
	}
	cfg = cfg.withDefaults()
	if err := cfg.Handshake.Validate(); err != nil {
		return nil, fmt.Errorf("ws transport: %w", err)
	}
	keep := make([][]byte, len(cfg.KeepHeaders))
	for i, name := range cfg.KeepHeaders {
		if !lowerToken(name) {
			return nil, fmt.Errorf("ws transport: %q in KeepHeaders is no header name in lower case; write it like x-request-id", name)
		}
		keep[i] = []byte(name)
	}
	t := &Transport{
		cfg:     cfg,
		limits:  [2]ws.Limits{{MessageBytesMax: cfg.MessageBytesMax}, {MessageBytesMax: cfg.MessageBytesMax, Deflate: true}},
		l:       l,
		land:    land,
		keep:    keep,
		conns:   slab.NewColumn[conn](),
		buffers: buffers,
		codec:   codec,
	}
	if limit := cfg.ControlFrames; limit.Count != 0 {
		if err := limit.Validate(); err != nil {
			return nil, fmt.Errorf("ws transport: control frames: %w", err)
		}
		t.control = rate.NewMeter(limit)
	}
	return t, nil
}
