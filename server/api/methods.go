package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"shoal/pool/buffer"
	"shoal/server/channel"
)

// method is how a method is called over HTTP.
type method struct {
	request, result reflect.Type // what the OpenAPI document must describe
	wrapped         bool         // the result is inside {"result":…}
	// run decodes the body, makes the call and appends the result to out, which it
	// returns. An error is *undecodable, or a result that could not be encoded.
	run func(h *Handler, ctx context.Context, body, out []byte) ([]byte, *channel.Error, error)
}

// methods is the table of the API.
func methods() map[string]method {
	return map[string]method{
		"publish":        {reflect.TypeFor[PublishRequest](), reflect.TypeFor[PublishResult](), true, runPublish},
		"broadcast":      {reflect.TypeFor[BroadcastRequest](), reflect.TypeFor[BroadcastResult](), true, runBroadcast},
		"batch":          {reflect.TypeFor[BatchRequest](), reflect.TypeFor[BatchResult](), false, runBatch},
		"subscribe":      plain((*Calls).Subscribe),
		"unsubscribe":    plain((*Calls).Unsubscribe),
		"disconnect":     plain((*Calls).Disconnect),
		"refresh":        plain((*Calls).Refresh),
		"presence":       plain((*Calls).Presence),
		"presence_stats": plain((*Calls).PresenceStats),
		"history":        plain((*Calls).History),
		"history_remove": plain((*Calls).HistoryRemove),
		"channels":       plain((*Calls).Channels),
		"info":           plain((*Calls).Info),
		"rpc":            plain((*Calls).RPC),
		"connections":    plain((*Calls).Connections),

		"map_publish":         refused("map_publish"),
		"map_remove":          refused("map_remove"),
		"map_read_state":      refused("map_read_state"),
		"map_read_stream":     refused("map_read_stream"),
		"map_stats":           refused("map_stats"),
		"map_clear":           refused("map_clear"),
		"shared_poll_publish": refused("shared_poll_publish"),
	}
}

// plain is a method that need not be fast.
func plain[Request, Result any](f func(*Calls, context.Context, Request) (Result, *channel.Error)) method {
	return method{
		request: reflect.TypeFor[Request](), result: reflect.TypeFor[Result](), wrapped: true,
		run: func(h *Handler, ctx context.Context, body, out []byte) ([]byte, *channel.Error, error) {
			var r Request
			if err := json.Unmarshal(body, &r); err != nil {
				return out, nil, &undecodable{err}
			}
			result, e := f(h.calls, ctx, r)
			if e != nil {
				return out, e, nil
			}
			text, err := json.Marshal(result)
			return append(out, text...), nil, err
		},
	}
}

// refused is a method known by name only.
func refused(name string) method {
	return method{
		request: reflect.TypeFor[Empty](), result: reflect.TypeFor[Empty](), wrapped: true,
		run: func(_ *Handler, _ context.Context, _, out []byte) ([]byte, *channel.Error, error) {
			return out, unknown(name), nil
		},
	}
}

func runPublish(h *Handler, ctx context.Context, body, out []byte) ([]byte, *channel.Error, error) {
	r, err := decodePublish(body)
	if err != nil {
		return out, nil, &undecodable{err}
	}
	result, e := h.calls.Publish(ctx, r)
	return appendPublishResult(out, result), e, nil
}

func runBroadcast(h *Handler, ctx context.Context, body, out []byte) ([]byte, *channel.Error, error) {
	r, err := decodeBroadcast(body)
	if err != nil {
		return out, nil, &undecodable{err}
	}
	result, e := h.calls.Broadcast(ctx, r)
	if e != nil {
		return out, e, nil
	}
	return appendBroadcastResult(out, &result), nil, nil
}

func runBatch(h *Handler, ctx context.Context, body, out []byte) ([]byte, *channel.Error, error) {
	batch, err := decodeBatch(body)
	if err != nil {
		return out, nil, &undecodable{err}
	}
	if e := h.calls.batchFits(len(batch.commands)); e != nil {
		return out, e, nil
	}
	if batch.parallel {
		return h.parallel(ctx, batch.commands, out)
	}
	out = append(out, `{"replies":[`...)
	for i := range batch.commands {
		if i > 0 {
			out = append(out, ',')
		}
		if r := batch.commands[i].publish; r != nil { // the one that batches are made for: no reply in between
			result, e := h.calls.Publish(ctx, *r)
			h.cfg.Count("publish", codeOf(errorOf(e)))
			out = appendPublishReply(out, result, e)
			continue
		}
		cmd := batch.commands[i].command()
		reply := h.calls.Do(ctx, cmd)
		if out, err = h.reply(out, cmd, &reply); err != nil {
			return out, nil, err
		}
	}
	return appendRepliesEnd(out, len(batch.commands)), nil, nil
}

// parallel is runBatch for commands side by side.
func (h *Handler) parallel(ctx context.Context, commands []command, out []byte) ([]byte, *channel.Error, error) {
	cmds := make([]*Command, len(commands))
	for i := range commands {
		cmds[i] = commands[i].command()
	}
	result, e := h.calls.Batch(ctx, BatchRequest{Commands: cmds, Parallel: true})
	if e != nil {
		return out, e, nil
	}
	out = append(out, `{"replies":[`...)
	for i := range result.Replies {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = h.reply(out, cmds[i], &result.Replies[i]); err != nil {
			return out, nil, err
		}
	}
	return appendRepliesEnd(out, len(cmds)), nil, nil
}

// reply counts a command and appends its reply.
func (h *Handler) reply(out []byte, cmd *Command, r *Reply) ([]byte, error) {
	name := "unknown" // a name that a caller made up is no label
	if cmd != nil && cmd.Other == "" && cmd.Method() != "" {
		name = cmd.Method()
	}
	h.cfg.Count(name, codeOf(r.Error))
	switch {
	case r.Error != nil:
		return append(appendError(append(out, `{"error":`...), r.Error.Code, r.Error.Message), '}'), nil
	case r.Publish != nil:
		return appendPublishReply(out, *r.Publish, nil), nil
	}
	text, err := json.Marshal(r)
	return append(out, text...), err
}

func codeOf(e *Error) uint32 {
	if e == nil {
		return 0
	}
	return e.Code
}

// legacyNumbers are the methods that the older form may give as numbers, which is their
// place; empty ones are not there. Never written.
var legacyNumbers = [...]string{
	"publish", "broadcast", "unsubscribe", "disconnect", "presence", "presence_stats", "history", "history_remove",
	"channels", "info", "rpc", "subscribe", "refresh", "", "connections", 33: "map_publish", 34: "map_remove",
	35: "map_read_state", 36: "map_read_stream", 37: "map_stats", 38: "map_clear", 39: "shared_poll_publish",
}

// legacyMethod is a method in the older form: a name in any case, or a number. Without
// one it is publish.
type legacyMethod string

// UnmarshalJSON leaves the name empty for a number without a method.
func (m *legacyMethod) UnmarshalJSON(text []byte) error {
	if n, err := strconv.Atoi(string(text)); err == nil {
		*m = ""
		if n >= 0 && n < len(legacyNumbers) {
			*m = legacyMethod(legacyNumbers[n])
		}
		return nil
	}
	name := strings.ToLower(strings.Trim(string(text), `"`))
	for _, known := range legacyNumbers {
		if known != "" && name == known {
			*m = legacyMethod(name)
			return nil
		}
	}
	return errors.New("method is none that there is, neither by name nor by number")
}

type legacyCommand struct {
	ID     uint32          `json:"id"`
	Method legacyMethod    `json:"method"`
	Params json.RawMessage `json:"params"`
}

// legacy answers the older form: commands one after the other in one body, with all
// errors in the replies.
func (h *Handler) legacy(w http.ResponseWriter, r *http.Request, body []byte, out *buffer.Buffer) {
	commands, err := h.decodeLegacy(body)
	if err != nil {
		e := (&undecodable{err}).explain()
		h.cfg.Count("legacy", e.Code)
		h.refuse(w, r, e, true, out)
		return
	}
	for i := range commands {
		if i > 0 {
			out.B = append(out.B, '\n')
		}
		out.B = h.legacyReply(r.Context(), &commands[i], out.B)
	}
	h.answer(w, r, http.StatusOK, 0, out.B)
}

func (h *Handler) decodeLegacy(body []byte) (commands []legacyCommand, err error) {
	most := orDefault(h.cfg.BatchMax, BatchDefault)
	for dec := json.NewDecoder(bytes.NewReader(body)); ; {
		cmd := legacyCommand{Method: "publish"}
		switch err := dec.Decode(&cmd); {
		case err == io.EOF && len(commands) > 0:
			return commands, nil
		case err == io.EOF:
			return nil, errors.New("it is empty: send {\"method\":…,\"params\":{…}}")
		case err != nil:
			return nil, err
		case len(commands) == most:
			return nil, errors.New("it has more than " + strconv.Itoa(most) + " commands: make several calls")
		}
		commands = append(commands, cmd)
	}
}

func (h *Handler) legacyReply(ctx context.Context, cmd *legacyCommand, out []byte) []byte {
	out = append(out, '{')
	if cmd.ID != 0 {
		out = append(strconv.AppendUint(append(out, `"id":`...), uint64(cmd.ID), 10), ',')
	}
	keep := len(out)
	m, ok := h.methods[string(cmd.Method)]
	e := adapt(channel.ErrMethodNotFound.Err())
	if ok {
		params := []byte(cmd.Params)
		if cmd.Method == "info" {
			params = []byte("{}") // it has none, whatever is sent
		}
		var err error
		if out, e, err = m.run(h, ctx, params, append(out, `"result":`...)); err != nil {
			e, _ = h.failure(string(cmd.Method), err)
		}
	}
	if e != nil {
		h.cfg.Count(orUnknown(string(cmd.Method)), e.Code)
		return append(appendError(append(out[:keep], `"error":`...), e.Code, e.Message), '}')
	}
	h.cfg.Count(string(cmd.Method), 0)
	return append(out, '}')
}

func orUnknown(method string) string {
	if method == "" {
		return "unknown"
	}
	return method
}

// jsonType is the type that was expected, in the words of JSON.
func jsonType(e *json.UnmarshalTypeError) string {
	switch kind := e.Type.Kind(); {
	case kind == reflect.Bool:
		return "boolean"
	case kind == reflect.String:
		return "string"
	case kind == reflect.Slice:
		return "array"
	case kind >= reflect.Int && kind <= reflect.Uint64:
		return e.Type.Kind().String()
	default:
		return "object"
	}
}
