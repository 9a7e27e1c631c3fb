package loadtest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"
)

// serveReference runs the reference implementation of the protocol, with the two methods of the API that publish.
func serveReference(t *testing.T) (addr string) {
	t.Helper()
	node, err := centrifuge.New(centrifuge.Config{
		LogLevel: centrifuge.LogLevelNone, ClientQueueMaxSize: 16 << 20, Metrics: centrifuge.MetricsConfig{RegistererGatherer: prometheus.NewRegistry()},
	})
	if err != nil {
		t.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, cb centrifuge.SubscribeCallback) {
			cb(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnableRecovery: true, EnablePositioning: true}}, nil)
		})
	})
	if err := node.Run(); err != nil {
		t.Fatal(err)
	}
	type publish struct {
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	do := func(p publish) {
		if _, err := node.Publish(p.Channel, p.Data, centrifuge.WithHistory(5000, time.Minute)); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{WriteTimeout: 500 * time.Millisecond}))
	mux.HandleFunc("/api/publish", func(w http.ResponseWriter, q *http.Request) {
		var p publish
		_ = json.NewDecoder(q.Body).Decode(&p)
		do(p)
		_, _ = w.Write([]byte(`{"result":{}}`))
	})
	mux.HandleFunc("/api/batch", func(w http.ResponseWriter, q *http.Request) {
		var b struct {
			Commands []struct {
				Publish publish `json:"publish"`
			} `json:"commands"`
		}
		_ = json.NewDecoder(q.Body).Decode(&b)
		replies := make([]map[string]any, len(b.Commands))
		for i, c := range b.Commands {
			do(c.Publish)
			replies[i] = map[string]any{"publish": map[string]any{"offset": i}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"replies": replies})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = node.Shutdown(ctx)
		s.Close()
	})
	return s.Listener.Addr().String()
}

func TestTheReferenceServerIsPressedAsWell(t *testing.T) {
	addr := serveReference(t)
	for _, encoding := range []string{"json", "protobuf"} {
		for _, c := range []struct {
			scenario Scenario
			change   func(*Config)
		}{
			{Channels, func(c *Config) { c.Channels, c.Subscriptions, c.PublishRate = 20, 4, 200 }},
			{Slow, func(c *Config) {
				c.Connections, c.Stuck, c.Stall, c.PayloadBytes, c.PublishRate, c.Channel = 20, 8, 3*time.Second, 60_000, 50, "slow"
				c.Duration = 500 * time.Millisecond // the kernel alone takes 4 MB for each
			}},
			{Storm, func(c *Config) { c.Channels, c.Subscriptions = 5, 2 }},
		} {
			t.Run(encoding+" "+string(c.scenario), func(t *testing.T) {
				cfg := small(addr, c.scenario)
				cfg.Encoding, cfg.Connections = encoding, 100
				c.change(&cfg)
				r, err := try(t, t.Context(), cfg, Surroundings{})
				if err != nil || !r.OK || r.Observed != nil || r.Pressure.Published == 0 || r.Pressure.Received+r.Pressure.Told != r.Pressure.Expected {
					t.Fatalf("%v\n%+v", err, r.Pressure)
				}
				if s := r.Pressure.Storm; s != nil && (s.Back != 100 || s.Recovered != 200) {
					t.Errorf("%+v", s)
				}
				if s := r.Pressure.Slow; s != nil && (s.Ended == 0 || s.Recovered < s.Ended) {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}
