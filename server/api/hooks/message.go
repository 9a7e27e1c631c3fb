package hooks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"shoal/server/channel"
)

// request is what a backend is asked, whatever the event: the union of the published
// requests, whose fields are called the same in all of them. As JSON it is the body of
// the HTTP request.
type request struct {
	Client    string          `json:"client,omitempty"`
	Transport string          `json:"transport,omitempty"`
	Protocol  string          `json:"protocol,omitempty"`
	Encoding  string          `json:"encoding,omitempty"` // of Data: "json" or "binary"
	User      *string         `json:"user,omitempty"`     // nil in connect and channel state; else sent, even when empty
	Channel   string          `json:"channel,omitempty"`
	Method    string          `json:"method,omitempty"`
	Token     string          `json:"token,omitempty"`
	Meta      json.RawMessage `json:"meta,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	B64Data   string          `json:"b64data,omitempty"`
	Name      string          `json:"name,omitempty"`
	Version   string          `json:"version,omitempty"`
	Channels  []string        `json:"channels,omitempty"`
	Events    []stateEvent    `json:"events,omitempty"`

	data []byte // what becomes Data or B64Data
}

// stateEvent is what became of a channel.
type stateEvent struct {
	TimeMS  int64  `json:"time_ms,omitempty"`
	Channel string `json:"channel,omitempty"`
	Type    string `json:"type,omitempty"` // "occupied" or "vacated"
}

func (r *request) user() string {
	if r.User == nil {
		return ""
	}
	return *r.User
}

// encode puts the data where the endpoint expects it. What the client wrote becomes
// valid UTF-8, without which gRPC would send nothing at all.
func (r *request) encode(binary bool) {
	for _, s := range []*string{&r.Channel, &r.Method, &r.Token, &r.Name, &r.Version} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	for i, s := range r.Channels {
		r.Channels[i] = strings.ToValidUTF8(s, "\uFFFD")
	}
	if binary {
		r.Encoding, r.B64Data = "binary", base64.StdEncoding.EncodeToString(r.data)
	} else {
		r.Encoding, r.Data = "json", r.data
	}
}

// settler is the result of an event, a pointer. settle replaces what came as base64 by
// its bytes.
type settler interface {
	comparable
	settle() error
}

// answer is the response of a backend. The published rule: a disconnect outweighs an
// error, an error outweighs a result.
type answer[R settler] struct {
	Result     R               `json:"result"` // nil: none was given
	Error      *wireError      `json:"error"`
	Disconnect *wireDisconnect `json:"disconnect"`
}

type wireError struct {
	Code      uint32 `json:"code"`
	Message   string `json:"message"`
	Temporary bool   `json:"temporary"`
}

type wireDisconnect struct {
	Code   uint32 `json:"code"`
	Reason string `json:"reason"`
}

// reply is an answer of any event, for the callers that fill it.
type reply interface {
	reset()
	transformed(t *Transform)
	check() (Kind, error)
}

func (a *answer[R]) reset() { *a = answer[R]{} }

// transformed makes it what the HTTP status stands for.
func (a *answer[R]) transformed(t *Transform) {
	if e := t.Error; e.Code > 0 {
		a.Error = &wireError{Code: e.Code, Message: e.Message, Temporary: e.Temporary}
	} else {
		a.Disconnect = &wireDisconnect{Code: t.Disconnect.Code, Reason: t.Disconnect.Reason}
	}
}

// check judges codes and base64.
func (a *answer[R]) check() (Kind, error) {
	var none R
	switch {
	case a.Disconnect != nil:
		if !validDisconnectCode(a.Disconnect.Code) {
			return KindCode, fmt.Errorf("disconnect code %d of the backend cannot be used; it must be 4000–4999, or one of the protocol from 3000", a.Disconnect.Code)
		}
	case a.Error != nil:
		if !validErrorCode(a.Error.Code) {
			return KindCode, fmt.Errorf("error code %d of the backend cannot be used; it must be 400–1999, or one of the protocol from 100", a.Error.Code)
		}
	case a.Result != none:
		if err := a.Result.settle(); err != nil {
			return KindGarbage, fmt.Errorf("base64 in the backend's result does not decode: %w", err)
		}
	}
	return KindNone, nil
}

// refusal is what it refuses, if anything.
func (a *answer[R]) refusal() channel.Refusal {
	switch {
	case a.Disconnect != nil:
		return channel.Refusal{Disconnect: &channel.Disconnect{Code: a.Disconnect.Code, Reason: cut(a.Disconnect.Reason)}}
	case a.Error != nil:
		return channel.Refusal{Err: &channel.Error{Code: a.Error.Code, Message: a.Error.Message, Temporary: a.Error.Temporary}}
	}
	return channel.Refusal{}
}

// cut shortens a reason to what a close frame takes, on the boundary of a rune.
func cut(reason string) string {
	if len(reason) <= reasonBytesMax {
		return reason
	}
	n := reasonBytesMax
	for n > 0 && !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}

// fromBase64 replaces *dst by what b64 stands for, unless that is empty.
func fromBase64[B ~[]byte](dst *B, b64 string) error {
	if b64 == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return err
	}
	*dst = b
	return nil
}

type connectResult struct {
	User     string                 `json:"user"`
	ExpireAt int64                  `json:"expire_at"`
	Info     json.RawMessage        `json:"info"`
	B64Info  string                 `json:"b64info"`
	Data     json.RawMessage        `json:"data"`
	B64Data  string                 `json:"b64data"`
	Channels []string               `json:"channels"`
	Subs     map[string]*subOptions `json:"subs"`
	Meta     json.RawMessage        `json:"meta"`
}

func (r *connectResult) settle() error {
	if err := fromBase64(&r.Info, r.B64Info); err != nil {
		return err
	}
	for _, o := range r.Subs {
		if o == nil {
			continue
		}
		if err := fromBase64(&o.Info, o.B64Info); err != nil {
			return err
		}
		if err := fromBase64(&o.Data, o.B64Data); err != nil {
			return err
		}
	}
	return fromBase64(&r.Data, r.B64Data)
}

type subOptions struct {
	Info     json.RawMessage   `json:"info"`
	B64Info  string            `json:"b64info"`
	Data     json.RawMessage   `json:"data"`
	B64Data  string            `json:"b64data"`
	Override *channel.Override `json:"override"`
}

// refreshResult is that of refresh and of sub_refresh, which has no meta.
type refreshResult struct {
	Expired  bool            `json:"expired"`
	ExpireAt int64           `json:"expire_at"`
	Info     json.RawMessage `json:"info"`
	B64Info  string          `json:"b64info"`
	Meta     json.RawMessage `json:"meta"`
}

func (r *refreshResult) settle() error { return fromBase64(&r.Info, r.B64Info) }

type subscribeResult struct {
	ExpireAt int64             `json:"expire_at"`
	Info     json.RawMessage   `json:"info"`
	B64Info  string            `json:"b64info"`
	Data     json.RawMessage   `json:"data"`
	B64Data  string            `json:"b64data"`
	Override *channel.Override `json:"override"`
}

func (r *subscribeResult) settle() error {
	if err := fromBase64(&r.Info, r.B64Info); err != nil {
		return err
	}
	return fromBase64(&r.Data, r.B64Data)
}

type publishResult struct {
	Data           json.RawMessage   `json:"data"`
	B64Data        string            `json:"b64data"`
	SkipHistory    bool              `json:"skip_history"`
	Tags           map[string]string `json:"tags"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`
}

// settle prefers data to b64data, unlike that of all other events: so does Centrifugo.
func (r *publishResult) settle() error {
	if r.Data != nil {
		return nil
	}
	return fromBase64(&r.Data, r.B64Data)
}

type rpcResult struct {
	Data    json.RawMessage `json:"data"`
	B64Data string          `json:"b64data"`
}

func (r *rpcResult) settle() error { return fromBase64(&r.Data, r.B64Data) }

// stateResult has nothing in it.
type stateResult struct{}

func (*stateResult) settle() error { return nil }
