package api

import (
	"context"
	"encoding/json"

	"shoal/codec/proto"
	"shoal/server/channel"
)

// message is what publish and broadcast have in common.
type message struct {
	Data    json.RawMessage   `json:"data"`
	B64Data []byte            `json:"b64data"`
	Tags    map[string]string `json:"tags"`
}

func (m *message) publication() (*channel.Publication, *channel.Error) {
	data := []byte(m.Data)
	switch {
	case len(m.B64Data) > 0:
		data = m.B64Data
	case len(data) == 0:
		return nil, badRequest("data or b64data is required")
	case !proto.ValidJSON(data):
		// It would end every JSON subscriber with 3506, for good.
		return nil, badRequest("data is no UTF-8, or is nested too deep for clients; send other bytes as b64data")
	}
	return &channel.Publication{Data: data, Tags: m.Tags}, nil
}

// position is a publish result; empty when the channel keeps no history.
type position struct {
	Offset uint64 `json:"offset,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
}

func publish(ctx context.Context, s Service, params []byte) (any, *channel.Error) {
	var req struct {
		Channel string `json:"channel"`
		message
	}
	if e := decode(params, &req); e != nil {
		return nil, e
	}
	if req.Channel == "" {
		return nil, badRequest("channel is required")
	}
	pub, e := req.publication()
	if e != nil {
		return nil, e
	}
	return publishTo(ctx, s, req.Channel, pub)
}

func publishTo(ctx context.Context, s Service, name string, pub *channel.Publication) (any, *channel.Error) {
	pos, e := s.Publish(ctx, name, pub)
	if e != nil {
		return nil, e
	}
	return position{Offset: pos.Offset, Epoch: pos.Epoch}, nil
}

func broadcast(ctx context.Context, s Service, params []byte) (any, *channel.Error) {
	var req struct {
		Channels []string `json:"channels"`
		message
	}
	if e := decode(params, &req); e != nil {
		return nil, e
	}
	if len(req.Channels) == 0 {
		return nil, badRequest("channels is required")
	}
	pub, e := req.publication() // checked once, however many channels there are
	if e != nil {
		return nil, e
	}
	responses := make([]reply, len(req.Channels))
	for i, name := range req.Channels {
		if name == "" {
			responses[i] = envelope(nil, badRequest("a channel name is empty"))
			continue
		}
		each := *pub // a copy: the broker gives every one its position
		result, e := publishTo(ctx, s, name, &each)
		responses[i] = envelope(result, e)
	}
	return map[string]any{"responses": responses}, nil
}

func channels(ctx context.Context, s Service, params []byte) (any, *channel.Error) {
	var req struct {
		Pattern string `json:"pattern"`
	}
	if e := decode(params, &req); e != nil {
		return nil, e
	}
	match := func(string) bool { return true }
	if req.Pattern != "" {
		var err error
		if match, err = compilePattern(req.Pattern); err != nil {
			return nil, badRequest("pattern %q: %v", req.Pattern, err)
		}
	}
	counts, e := s.Channels(ctx, match)
	if e != nil {
		return nil, e
	}
	type count struct {
		NumClients int `json:"num_clients"`
	}
	out := make(map[string]count, len(counts))
	for name, n := range counts {
		out[name] = count{n}
	}
	return map[string]any{"channels": out}, nil
}

func info(ctx context.Context, s Service, params []byte) (any, *channel.Error) {
	if e := decode(params, &struct{}{}); e != nil {
		return nil, e
	}
	return fold(s.Info(ctx))
}

func fold(result Info, e *channel.Error) (any, *channel.Error) {
	if e != nil {
		return nil, e
	}
	return result, nil
}

func disconnect(ctx context.Context, s Service, params []byte) (any, *channel.Error) {
	var req struct {
		User       string   `json:"user"`
		Client     string   `json:"client"`
		Session    string   `json:"session"`
		Whitelist  []string `json:"whitelist"`
		Disconnect *struct {
			Code   uint32 `json:"code"`
			Reason string `json:"reason"`
		} `json:"disconnect"`
	}
	if e := decode(params, &req); e != nil {
		return nil, e
	}
	if req.User == "" && req.Client == "" {
		return nil, badRequest("user is required")
	}
	d := *channel.DisconnectForced.Disconnect()
	if req.Disconnect != nil {
		if json.Valid([]byte(req.Disconnect.Reason)) {
			return nil, badRequest("disconnect.reason %q is JSON, which older clients would parse: give a plain sentence", req.Disconnect.Reason)
		}
		if req.Disconnect.Code < 3000 || req.Disconnect.Code > 4999 {
			return nil, badRequest("disconnect.code %d: take one from 3000 to 4999", req.Disconnect.Code)
		}
		d = channel.Disconnect{Code: req.Disconnect.Code, Reason: req.Disconnect.Reason}
	}
	target := Target{User: req.User, Client: req.Client, Session: req.Session, Whitelist: req.Whitelist}
	return struct{}{}, s.Disconnect(ctx, target, d)
}

// decode reads the parameters; an empty body counts as {}.
func decode(params []byte, into any) *channel.Error {
	if len(params) == 0 {
		params = []byte("{}")
	}
	if err := json.Unmarshal(params, into); err != nil {
		return badRequest("the body is not the JSON object expected: %v", err)
	}
	return nil
}
