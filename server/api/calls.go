package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/pool/worker"
	"shoal/server/channel"
)

const (
	// BatchDefault and BroadcastDefault are what zero limits of Calls mean.
	BatchDefault     = 10_000
	BroadcastDefault = 100_000
	// PageDefault and PageMax are the entries of a page when none are asked for, and at most.
	PageDefault = 1000
	PageMax     = 10_000

	// spreadMax is how many workers help with one call; Centrifugo takes up to 1,024.
	spreadMax = 64
)

// Calls are the methods of the server API over plain requests, the same for every front:
// what is required, what is assumed, what the service is asked. Errors carry the API's
// messages and are not to be changed. All methods may be called from any goroutine; a
// request and what it points to belongs to the call.
type Calls struct {
	Service Service
	// JSON says that payloads arrive in and leave by JSON text: data must be JSON that
	// clients can take, and what is not JSON leaves in the b64 fields of results.
	JSON bool
	// BatchMax and BroadcastMax bound commands and channels of one call. 0 means
	// BatchDefault and BroadcastDefault.
	BatchMax, BroadcastMax int
	// Workers run the commands of a parallel batch side by side; nil: one after the other.
	Workers *worker.Pool
	// Spread says that publishing blocks, so that broadcasts are for the workers too.
	Spread bool
}

// Publish publishes in one channel.
func (c *Calls) Publish(ctx context.Context, r PublishRequest) (PublishResult, *channel.Error) {
	if r.Channel == "" {
		return PublishResult{}, badRequest("channel is required")
	}
	data, e := c.payload("data", r.Data, r.B64Data)
	if e != nil {
		return PublishResult{}, e
	}
	o := PublishOptions{
		SkipHistory: r.SkipHistory, IdempotencyKey: r.IdempotencyKey, Delta: r.Delta,
		Version: r.Version, VersionEpoch: r.VersionEpoch,
	}
	return c.publish(ctx, r.Channel, &channel.Publication{Data: data, Tags: r.Tags, Exclude: r.ExcludeClient}, o)
}

// publish hands over a publication, which is the service's from then on.
func (c *Calls) publish(ctx context.Context, name string, pub *channel.Publication, o PublishOptions) (PublishResult, *channel.Error) {
	empty := len(pub.Data) == 0
	pos, e := c.Service.Publish(ctx, name, pub, o)
	switch {
	case e == nil:
		return PublishResult{Offset: pos.Offset, Epoch: pos.Epoch}, nil
	case empty && *e == *channel.ErrBadRequest.Err(): // only a channel for binary data takes nothing
		return PublishResult{}, badRequest("data or b64data is required")
	default:
		return PublishResult{}, adapt(e)
	}
}

// Broadcast publishes the same in many channels; those that fail have their own errors.
func (c *Calls) Broadcast(ctx context.Context, r BroadcastRequest) (BroadcastResult, *channel.Error) {
	if len(r.Channels) == 0 {
		return BroadcastResult{}, badRequest("channels is required")
	}
	if most := orDefault(c.BroadcastMax, BroadcastDefault); len(r.Channels) > most {
		return BroadcastResult{}, badRequest("%d channels in one broadcast, at most %d: make several calls", len(r.Channels), most)
	}
	data, e := c.payload("data", r.Data, r.B64Data) // checked once, however many channels there are
	if e != nil {
		return BroadcastResult{}, e
	}
	o := PublishOptions{
		SkipHistory: r.SkipHistory, IdempotencyKey: r.IdempotencyKey, Delta: r.Delta,
		Version: r.Version, VersionEpoch: r.VersionEpoch,
	}
	responses := make([]PublishResponse, len(r.Channels))
	results := make([]PublishResult, len(r.Channels))
	c.each(ctx, len(r.Channels), c.Spread, func(i int) {
		responses[i].Error = internalError() // stays if the service panics on a worker
		if r.Channels[i] == "" {
			responses[i].Error = errorOf(badRequest("channels[%d] is empty", i))
			return
		}
		// Each gets its own: the service gives every one its position.
		result, e := c.publish(ctx, r.Channels[i], &channel.Publication{Data: data, Tags: r.Tags, Exclude: r.ExcludeClient}, o)
		if responses[i].Error = errorOf(e); e == nil {
			results[i] = result
			responses[i].Result = &results[i]
		}
	})
	return BroadcastResult{Responses: responses}, nil
}

// each calls do for every i below n: one after the other, or side by side on the workers
// that are free and the caller's goroutine. It returns when all of them are done.
func (c *Calls) each(ctx context.Context, n int, spread bool, do func(i int)) {
	if !spread || c.Workers == nil || n < 2 {
		for i := range n {
			do(i)
		}
		return
	}
	h := &helper{n: int64(n), do: do}
	h.left.Add(n)
	for range min(n-1, spreadMax) {
		if c.Workers.Submit(ctx, h) != nil {
			break // all are busy; those that came help, and so does the caller
		}
	}
	h.Run(ctx)
	h.left.Wait()
}

// helper is one call spread over workers. One that comes too late finds nothing to do.
type helper struct {
	n    int64
	next atomic.Int64
	left sync.WaitGroup
	do   func(i int)
}

// Run takes one i after the other.
func (h *helper) Run(context.Context) {
	for i := h.next.Add(1) - 1; i < h.n; i = h.next.Add(1) - 1 {
		h.one(int(i))
	}
}

func (h *helper) one(i int) {
	defer h.left.Done() // also when it panics: the worker survives that, and the caller must not wait for ever
	h.do(i)
}

// payload is the bytes that a pair of fields, like data and b64data, stands for. Of
// both the second counts.
func (c *Calls) payload(name string, raw json.RawMessage, b64 string) ([]byte, *channel.Error) {
	if b64 == "" {
		return raw, c.clientJSON(name, raw)
	}
	decoded, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return nil, badRequest("b64%s is not base64 (RFC 4648 §4, with padding): %v", name, err)
	}
	return decoded, nil
}

// clientJSON refuses what would end every JSON client that got it with 3506, for good.
func (c *Calls) clientJSON(name string, raw json.RawMessage) *channel.Error {
	if c.JSON && len(raw) > 0 && !proto.ValidJSON(raw) {
		return badRequest("%s is no UTF-8, or is nested too deep for clients; send other bytes as b64%s", name, name)
	}
	return nil
}

// leaving is how bytes leave: as they are, or if that is not possible, as base64.
func (c *Calls) leaving(b []byte) (raw json.RawMessage, b64 string) {
	if !c.JSON || len(b) == 0 || proto.ValidJSON(b) {
		return b, ""
	}
	return nil, base64.StdEncoding.EncodeToString(b)
}

func badRequest(format string, args ...any) *channel.Error {
	return named(channel.ErrBadRequest, fmt.Sprintf(format, args...))
}

// named is an error of the API that says what is wrong.
func named(code channel.ErrorCode, what string) *channel.Error {
	e := *adapt(code.Err())
	e.Message += ": " + what
	return &e
}

// adapt gives the errors that the API words otherwise than the client protocol its words.
func adapt(e *channel.Error) *channel.Error {
	var message string
	switch {
	case e == nil:
		return nil
	case *e == *channel.ErrMethodNotFound.Err():
		message = "not found"
	case *e == *channel.ErrConcurrentPagination.Err():
		message = "conflict"
	default:
		return e
	}
	return &channel.Error{Code: e.Code, Message: message, Temporary: e.Temporary}
}

// errorOf is e as it is sent; nil for none.
func errorOf(e *channel.Error) *Error {
	if e == nil {
		return nil
	}
	return &Error{Code: e.Code, Message: e.Message}
}

func internalError() *Error { return errorOf(channel.ErrInternal.Err()) }

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}
