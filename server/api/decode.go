package api

import (
	"bytes"
	"encoding/json"

	"shoal/codec/proto/jsontext"
)

// The requests that come most are decoded by hand. The hand reads the ordinary form only:
// fields by their exact names, each once, of the right type, no null. For anything else it
// gives up and encoding/json decides, so that the meaning of every body, odd ones included,
// is that of encoding/json: folded names, duplicates, replaced UTF-8, errors. What the hand
// takes, encoding/json takes for the same; FuzzHand compares them.
//
// Nothing decoded holds on to the body.

func decodePublish(body []byte) (PublishRequest, error) {
	h := hand{b: body}
	if m, ok := h.message(false); ok && h.end() {
		return m.PublishRequest, nil
	}
	var r PublishRequest
	err := json.Unmarshal(body, &r)
	return r, err
}

func decodeBroadcast(body []byte) (BroadcastRequest, error) {
	h := hand{b: body}
	if m, ok := h.message(true); ok && h.end() {
		return m.broadcast(), nil
	}
	var r BroadcastRequest
	err := json.Unmarshal(body, &r)
	return r, err
}

// batch is a decoded BatchRequest.
type batch struct {
	commands []command
	parallel bool
}

// command is one of a batch: a publication by itself, which is what most are, else any;
// both nil is a null.
type command struct {
	publish *PublishRequest
	other   *Command
}

func (c command) command() *Command {
	if c.publish != nil {
		return &Command{Publish: c.publish}
	}
	return c.other
}

func decodeBatch(body []byte) (batch, error) {
	h := hand{b: body}
	if b, ok := h.batch(); ok && h.end() {
		return b, nil
	}
	var r BatchRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return batch{}, err
	}
	b := batch{parallel: r.Parallel, commands: make([]command, len(r.Commands))}
	for i, cmd := range r.Commands {
		b.commands[i].other = cmd
	}
	return b, nil
}

// hand reads JSON from b[i]. Its methods report false where it gives up.
type hand struct {
	b []byte
	i int

	last   string           // the last channel: batches often stay with one
	spares []PublishRequest // room for requests
}

// message is a publish or broadcast request.
type message struct {
	PublishRequest
	channels []string
}

func (m *message) broadcast() BroadcastRequest {
	return BroadcastRequest{
		Channels: m.channels, Data: m.Data, B64Data: m.B64Data, SkipHistory: m.SkipHistory, Tags: m.Tags,
		IdempotencyKey: m.IdempotencyKey, Delta: m.Delta, Version: m.Version, VersionEpoch: m.VersionEpoch, ExcludeClient: m.ExcludeClient,
	}
}

// message reads a publish request, or if many a broadcast request.
func (h *hand) message(many bool) (m message, ok bool) {
	var seen uint32
	for first := true; ; first = false {
		key, more, ok := h.member(first)
		if !ok || !more {
			return m, ok
		}
		bit := uint32(0)
		switch string(key) {
		case "channel":
			bit, ok = 1<<0, !many && h.channel(&m.Channel)
		case "channels":
			bit, ok = 1<<1, many && h.strings(&m.channels)
		case "data":
			bit, ok = 1<<2, h.raw(&m.Data)
		case "b64data":
			bit, ok = 1<<3, h.text(&m.B64Data)
		case "skip_history":
			bit, ok = 1<<4, h.boolean(&m.SkipHistory)
		case "tags":
			bit, ok = 1<<5, h.tags(&m.Tags)
		case "idempotency_key":
			bit, ok = 1<<6, h.text(&m.IdempotencyKey)
		case "delta":
			bit, ok = 1<<7, h.boolean(&m.Delta)
		case "version":
			bit, ok = 1<<8, h.number(&m.Version)
		case "version_epoch":
			bit, ok = 1<<9, h.text(&m.VersionEpoch)
		case "exclude_client":
			bit, ok = 1<<10, h.text(&m.ExcludeClient)
		default:
			return m, false
		}
		if !ok || seen&bit != 0 {
			return m, false
		}
		seen |= bit
	}
}

func (h *hand) batch() (b batch, ok bool) {
	var seen uint32
	for first := true; ; first = false {
		key, more, ok := h.member(first)
		if !ok || !more {
			return b, ok
		}
		bit := uint32(0)
		switch string(key) {
		case "commands":
			bit = 1
			b.commands, ok = h.commands()
		case "parallel":
			bit, ok = 2, h.boolean(&b.parallel)
		default:
			return b, false
		}
		if !ok || seen&bit != 0 {
			return b, false
		}
		seen |= bit
	}
}

func (h *hand) commands() (commands []command, ok bool) {
	commands = make([]command, 0, 8)
	for first := true; ; first = false {
		more, ok := h.element(first)
		if !ok || !more {
			return commands, ok
		}
		cmd, ok := h.command()
		if !ok {
			return commands, false
		}
		commands = append(commands, cmd)
	}
}

// command reads {"publish":{…}}; what is not that is for encoding/json, for itself.
func (h *hand) command() (command, bool) {
	start := h.i
	if key, more, ok := h.member(true); ok && more && string(key) == "publish" {
		if m, ok := h.message(false); ok {
			if _, more, ok := h.member(false); ok && !more {
				return command{publish: h.keep(m.PublishRequest)}, true
			}
		}
	}
	h.i = start
	end, fault := jsontext.Value(h.b, start)
	if fault != 0 {
		return command{}, false
	}
	var cmd *Command
	if json.Unmarshal(h.b[start:end], &cmd) != nil {
		return command{}, false
	}
	h.i = end
	return command{other: cmd}, true
}

// keep gives r a place; they are made a chunk at a time.
func (h *hand) keep(r PublishRequest) *PublishRequest {
	if len(h.spares) == 0 {
		h.spares = make([]PublishRequest, 32)
	}
	at := &h.spares[0]
	h.spares = h.spares[1:]
	*at = r
	return at
}

// next is the byte after white space; 0 at the end.
func (h *hand) next() byte {
	if h.i = jsontext.SkipSpace(h.b, h.i); h.i < len(h.b) {
		return h.b[h.i]
	}
	return 0
}

// end says that nothing follows.
func (h *hand) end() bool { return h.next() == 0 && h.i == len(h.b) }

// step takes the opening before the first item, or the comma before another; more is
// false when it took the closing instead.
func (h *hand) step(first bool, opening, closing byte) (more, ok bool) {
	c := h.next()
	if first {
		if c != opening {
			return false, false
		}
		h.i++
		if h.next() == closing {
			h.i++
			return false, true
		}
		return true, true
	}
	h.i++
	return c == ',', c == ',' || c == closing
}

// member moves to the next value of an object and returns its key, which must be without
// escapes.
func (h *hand) member(first bool) (key []byte, more, ok bool) {
	if more, ok = h.step(first, '{', '}'); !ok || !more {
		return nil, false, ok
	}
	if key, _, ok = h.quoted(true); !ok || h.next() != ':' {
		return nil, false, false
	}
	h.i++
	h.next()
	return key, true, true
}

// element moves to the next value of a list.
func (h *hand) element(first bool) (more, ok bool) {
	more, ok = h.step(first, '[', ']')
	if more {
		h.next()
	}
	return more, ok
}

// quoted reads a string and returns what is between the quotes.
func (h *hand) quoted(mustBePlain bool) (inner []byte, plain, ok bool) {
	if h.next() != '"' {
		return nil, false, false
	}
	end, plain, fault := jsontext.String(h.b, h.i+1)
	if fault != 0 || mustBePlain && !plain {
		return nil, false, false
	}
	inner = h.b[h.i+1 : end-1]
	h.i = end
	return inner, plain, true
}

func (h *hand) text(into *string) bool {
	inner, plain, ok := h.quoted(false)
	if !ok {
		return false
	}
	if plain {
		*into = string(inner)
	} else {
		*into = string(jsontext.AppendUnescaped(nil, inner))
	}
	return true
}

// channel is text that often is what it was last time.
func (h *hand) channel(into *string) bool {
	inner, plain, ok := h.quoted(false)
	if !ok {
		return false
	}
	switch {
	case plain && h.last == string(inner):
	case plain:
		h.last = string(inner)
	default:
		h.last = string(jsontext.AppendUnescaped(nil, inner))
	}
	*into = h.last
	return true
}

func (h *hand) strings(into *[]string) bool {
	list := []string{}
	for first := true; ; first = false {
		more, ok := h.element(first)
		if !ok || !more {
			*into = list
			return ok
		}
		var s string
		if !h.text(&s) {
			return false
		}
		list = append(list, s)
	}
}

func (h *hand) tags(into *map[string]string) bool {
	tags := map[string]string{}
	for first := true; ; first = false {
		key, more, ok := h.member(first)
		if !ok || !more {
			*into = tags
			return ok
		}
		var value string
		if !h.text(&value) {
			return false
		}
		tags[string(key)] = value
	}
}

func (h *hand) boolean(into *bool) bool {
	word := "false"
	if *into = h.next() == 't'; *into {
		word = "true"
	}
	end, fault := jsontext.Literal(h.b, h.i, word)
	h.i = end
	return fault == 0
}

// number reads a whole number without sign, point or exponent.
func (h *hand) number(into *uint64) bool {
	start := h.i
	var n uint64
	for ; h.i < len(h.b) && h.b[h.i]-'0' < 10; h.i++ {
		n = n*10 + uint64(h.b[h.i]-'0')
	}
	digits := h.i - start
	if digits == 0 || digits > 19 || digits > 1 && h.b[start] == '0' { // 19 digits always fit into 64 bits
		return false
	}
	*into = n
	return true // what is behind it must be a comma or the end of the object
}

func (h *hand) raw(into *json.RawMessage) bool {
	h.next()
	end, fault := jsontext.Value(h.b, h.i)
	if fault != 0 {
		return false
	}
	*into = bytes.Clone(h.b[h.i:end])
	h.i = end
	return true
}
