package compat_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"

	"shoal/server/channel"
)

// reference is the reference server: the library, and the decisions that Centrifugo
// documents for its options.
type reference struct {
	node    *centrifuge.Node
	profile profile
	spaces  map[string]*channel.Options
}

// startReference runs the reference server on a free port until the test ends.
func startReference(t testing.TB, p profile) *target {
	t.Helper()
	node, err := centrifuge.New(centrifuge.Config{
		Version: "test", LogLevel: centrifuge.LogLevelNone,
		ClientPresenceUpdateInterval: p.upkeep, ClientExpiredCloseDelay: p.expired, ClientExpiredSubCloseDelay: p.expiredSub,
		ClientStaleCloseDelay: p.stale, ClientChannelPositionCheckDelay: 40 * time.Second, ClientChannelLimit: p.channelLimit,
		ChannelMaxLength: 255, HistoryMaxPublicationLimit: p.historyLimit, RecoveryMaxPublicationLimit: p.recoveryLimit,
		Metrics: centrifuge.MetricsConfig{RegistererGatherer: prometheus.NewRegistry()},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{node: node, profile: p, spaces: map[string]*channel.Options{"": {}}}
	for _, o := range namespaces() {
		r.spaces[o.Name] = &o
	}
	node.OnConnecting(r.onConnecting)
	node.OnConnect(r.onConnect)
	if err := node.Run(); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		MessageSizeLimit: p.messageSizeLimit, WriteTimeout: 5 * time.Second,
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: p.ping, PongTimeout: p.pong},
	}))
	mux.HandleFunc("/api/{method}", r.serveAPI)
	s := httptest.NewServer(mux)
	stop := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Shutdown(ctx); err != nil {
			t.Errorf("the reference server ended with: %v", err)
		}
		s.Close()
	})
	t.Cleanup(stop)
	addr := s.Listener.(*net.TCPListener).Addr().String()
	return &target{name: "reference", base: "http://" + addr, ws: "ws://" + addr + "/connection/websocket", stop: stop}
}

// startEcho runs a backend that answers RPC calls as the handler of the reference does.
func startEcho(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var call struct {
			Method string          `json:"method"`
			Data   json.RawMessage `json:"data"`
		}
		answer := any(map[string]any{"error": map[string]any{"code": 107, "message": "bad request"}})
		if json.NewDecoder(q.Body).Decode(&call) == nil {
			answer = rpcAnswer(call.Method, call.Data)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// rpcAnswer is what the backend of both servers answers.
func rpcAnswer(method string, data json.RawMessage) map[string]any {
	switch method {
	case "fail":
		return map[string]any{"error": map[string]any{"code": 1001, "message": "failed", "temporary": true}}
	case "leave":
		return map[string]any{"disconnect": map[string]any{"code": 4501, "reason": "leave"}}
	case "nothing":
		return map[string]any{"result": map[string]any{}}
	}
	if data == nil {
		data = json.RawMessage("null")
	}
	return map[string]any{"result": map[string]any{"data": map[string]any{"method": method, "echo": data}}}
}

func (r *reference) onRPC(e centrifuge.RPCEvent, cb centrifuge.RPCCallback) {
	answer := rpcAnswer(e.Method, e.Data)
	switch {
	case answer["error"] != nil:
		cb(centrifuge.RPCReply{}, &centrifuge.Error{Code: 1001, Message: "failed", Temporary: true})
	case answer["disconnect"] != nil:
		cb(centrifuge.RPCReply{}, centrifuge.Disconnect{Code: 4501, Reason: "leave"})
	case e.Method == "nothing":
		cb(centrifuge.RPCReply{}, nil)
	default:
		data, err := json.Marshal(answer["result"].(map[string]any)["data"])
		cb(centrifuge.RPCReply{Data: data}, err)
	}
}

// options finds the options of a channel; nil when its namespace is unknown.
func (r *reference) options(name string) (o *channel.Options, rest string) {
	name = strings.TrimPrefix(name, "$")
	space, rest, found := strings.Cut(name, ":")
	if !found {
		space, rest = "", name
	}
	return r.spaces[space], rest
}

// named finds the options of a channel that a client names.
func (r *reference) named(name string) (*channel.Options, error) {
	o, rest := r.options(name)
	if o == nil {
		return nil, centrifuge.ErrorUnknownChannel
	}
	if !validRest(o, name, rest) {
		return nil, centrifuge.ErrorBadRequest
	}
	return o, nil
}

// subscribeOptions are what the options of a namespace give every subscription.
func subscribeOptions(o *channel.Options) centrifuge.SubscribeOptions {
	s := centrifuge.SubscribeOptions{
		EmitPresence: o.Presence, EmitJoinLeave: o.JoinLeave, PushJoinLeave: o.ForcePushJoinLeave,
		EnablePositioning: o.ForcePositioning, EnableRecovery: o.ForceRecovery,
		HistoryMetaTTL: o.HistoryMetaTTL, AllowTagsFilter: o.AllowTagsFilter,
	}
	if o.Caching() {
		s.RecoveryMode = centrifuge.RecoveryModeCache
	}
	for _, d := range o.AllowedDeltaTypes {
		s.AllowedDeltaTypes = append(s.AllowedDeltaTypes, centrifuge.DeltaType(d))
	}
	return s
}

func (r *reference) onConnecting(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	reply := centrifuge.ConnectReply{Subscriptions: map[string]centrifuge.SubscribeOptions{}, ClientSideRefresh: true}
	switch {
	case e.Token != "":
		token, err := r.connectToken(e.Token)
		if errors.Is(err, errExpired) {
			return reply, centrifuge.ErrorTokenExpired
		} else if err != nil {
			return reply, err
		}
		reply.Credentials = &centrifuge.Credentials{UserID: token.user, ExpireAt: token.expireAt, Info: token.info}
		reply.Subscriptions = token.subs
	case r.profile.anonymous:
		reply.Credentials = &centrifuge.Credentials{}
	default:
		return reply, nil
	}
	user := reply.Credentials.UserID
	if r.profile.personal && user != "" {
		reply.Subscriptions["forced:#"+user] = subscribeOptions(r.spaces["forced"])
	}
	for _, name := range e.Channels {
		o, rest := r.options(name)
		if o == nil {
			return reply, centrifuge.DisconnectBadRequest
		}
		if strings.HasPrefix(name, "$") || !validRest(o, name, rest) || !allowedByName(o, name, user) {
			continue
		}
		if _, ok := reply.Subscriptions[name]; !ok {
			reply.Subscriptions[name] = subscribeOptions(o)
		}
	}
	return reply, nil
}

func (r *reference) onConnect(c *centrifuge.Client) {
	c.OnRefresh(func(e centrifuge.RefreshEvent, cb centrifuge.RefreshCallback) { cb(r.onRefresh(c, e)) })
	c.OnSubscribe(func(e centrifuge.SubscribeEvent, cb centrifuge.SubscribeCallback) { cb(r.onSubscribe(c, e)) })
	c.OnSubRefresh(func(e centrifuge.SubRefreshEvent, cb centrifuge.SubRefreshCallback) { cb(r.onSubRefresh(c, e)) })
	c.OnPublish(func(e centrifuge.PublishEvent, cb centrifuge.PublishCallback) { cb(r.onPublish(c, e)) })
	c.OnRPC(r.onRPC)
	c.OnPresence(func(e centrifuge.PresenceEvent, cb centrifuge.PresenceCallback) {
		cb(centrifuge.PresenceReply{}, r.presence(c, e.Channel))
	})
	c.OnPresenceStats(func(e centrifuge.PresenceStatsEvent, cb centrifuge.PresenceStatsCallback) {
		cb(centrifuge.PresenceStatsReply{}, r.presence(c, e.Channel))
	})
	c.OnHistory(func(e centrifuge.HistoryEvent, cb centrifuge.HistoryCallback) {
		cb(centrifuge.HistoryReply{}, r.history(c, e.Channel))
	})
}
