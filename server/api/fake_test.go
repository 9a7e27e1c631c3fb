package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"shoal/server/channel"
)

// fake is a service that writes down what it is asked and answers what it is told.
type fake struct {
	mu    sync.Mutex
	asked []string
	pubs  []*channel.Publication

	err     *channel.Error // of every call, but of Publish in channels that begin with "bad" only
	pos     channel.Position
	kept    []channel.Publication
	clients map[string]channel.ClientInfo
	counts  map[string]int
	conns   []Connection // in order of ids
	answer  []byte       // of RPC
	publish func(name string)
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

// transcript is what was asked since the last time.
func (f *fake) transcript() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.asked = nil }()
	return strings.Join(f.asked, "\n")
}

func (f *fake) Publish(_ context.Context, name string, pub *channel.Publication, o PublishOptions) (channel.Position, *channel.Error) {
	if f.publish != nil {
		f.publish(name)
	}
	text := fmt.Sprintf("publish %s %s", name, pub.Data)
	if pub.Tags != nil {
		text += fmt.Sprintf(" tags %v", pub.Tags)
	}
	if pub.Exclude != "" {
		text += " but " + pub.Exclude
	}
	if o != (PublishOptions{}) {
		text += fmt.Sprintf(" %+v", o)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, text)
	f.pubs = append(f.pubs, pub)
	if pub.Offset != 0 {
		panic("the publication carries the position it got in another channel")
	}
	pub.Offset = 99 // a broker writes here
	switch {
	case f.err != nil && strings.HasPrefix(name, "bad"):
		return channel.Position{}, f.err
	case len(pub.Data) == 0 && name != "binary":
		return channel.Position{}, channel.ErrBadRequest.Err()
	}
	return f.pos, nil
}

func (f *fake) Subscribe(_ context.Context, r Subscription) *channel.Error {
	o := ""
	if r.Override != nil {
		for _, b := range []*bool{r.Override.Presence, r.Override.JoinLeave, r.Override.ForcePushJoinLeave, r.Override.ForcePositioning, r.Override.ForceRecovery} {
			if b == nil {
				o += "-"
			} else {
				o += fmt.Sprint(*b)[:1]
			}
		}
	}
	f.note("subscribe %+v %s info %s data %s since %v expire %d override %s", r.Target, r.Channel, r.Info, r.Data, r.Since, r.ExpireAt, o)
	return f.err
}

func (f *fake) Unsubscribe(_ context.Context, who Target, name string) *channel.Error {
	f.note("unsubscribe %+v %s", who, name)
	return f.err
}

func (f *fake) Disconnect(_ context.Context, who Target, d channel.Disconnect) *channel.Error {
	f.note("disconnect %+v %v", who, d)
	return f.err
}

func (f *fake) Refresh(_ context.Context, who Target, r Refresh) *channel.Error {
	f.note("refresh %+v expired %v at %d info %s", who, r.Expired, r.ExpireAt, r.Info)
	return f.err
}

func (f *fake) Presence(_ context.Context, name string) (map[string]channel.ClientInfo, *channel.Error) {
	f.note("presence %s", name)
	return f.clients, f.err
}

func (f *fake) PresenceStats(_ context.Context, name string) (PresenceStats, *channel.Error) {
	f.note("presence_stats %s", name)
	return PresenceStats{NumClients: 3, NumUsers: 2}, f.err
}

func (f *fake) History(_ context.Context, name string, q HistoryQuery) ([]channel.Publication, channel.Position, *channel.Error) {
	f.note("history %s since %v limit %d reverse %v", name, q.Since, q.Limit, q.Reverse)
	return f.kept, f.pos, f.err
}

func (f *fake) RemoveHistory(_ context.Context, name string) *channel.Error {
	f.note("history_remove %s", name)
	return f.err
}

func (f *fake) Channels(_ context.Context, match func(string) bool) (map[string]int, *channel.Error) {
	out := map[string]int{}
	for name, n := range f.counts {
		transient := []byte(name) // the hub's memory, which is another's after the call
		if match(string(transient)) {
			out[name] = n
		}
	}
	f.note("channels %d", len(out))
	return out, f.err
}

func (f *fake) Info(context.Context) (Info, *channel.Error) {
	f.note("info")
	return Info{Nodes: []NodeInfo{{UID: "u", Name: "n", NumClients: 3}}}, f.err
}

func (f *fake) RPC(_ context.Context, method string, params []byte) ([]byte, *channel.Error) {
	f.note("rpc %s %s", method, params)
	return f.answer, f.err
}

func (f *fake) Connections(_ context.Context, c ConnectionFilter) ([]Connection, *channel.Error) {
	f.note("connections %+v", c)
	if f.err != nil {
		return nil, f.err
	}
	var page []Connection
	for _, conn := range f.conns {
		fits := conn.Client > c.After && (c.User == "" || c.User == conn.User) && (c.Channel == "" || slices.Contains(conn.Channels, c.Channel))
		if fits && len(page) < c.Limit {
			page = append(page, conn)
		}
	}
	return page, nil
}

// rig is a handler with its service and what was counted.
type rig struct {
	h        *Handler
	s        *fake
	mu       sync.Mutex
	counted  []string
	rejected int
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{s: &fake{counts: map[string]int{"a": 2}}}
	cfg := Config{
		Key: "k", Rejected: func() { r.rejected++ },
		Count: func(method string, code uint32) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.counted = append(r.counted, fmt.Sprintf("%s:%d", method, code))
		},
	}
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg, r.s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.h = h
	return r
}

func (r *rig) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	req.URL.Path = path
	req.Header.Set("X-API-Key", "k")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	return w
}
