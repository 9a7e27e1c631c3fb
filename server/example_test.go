package server_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/server"
	"shoal/server/api"
	"shoal/server/config"
)

// inside starts a Shoal without a port of its own, for the examples.
func inside(callbacks server.Callbacks) (p *server.Program, stop func()) {
	options := server.Options{
		Version: "example", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "example",
		Embed: server.Embed{Callbacks: callbacks, NoListener: true},
	}
	_, _ = rand.Read(options.Random[:])
	p, err := server.New(config.Default(), options) // secure by default: what callbacks do not allow is forbidden
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	return p, func() {
		cancel()
		if err := <-ended; err != nil {
			panic(err)
		}
	}
}

// url is where a test server serves WebSocket.
func url(s *httptest.Server, path string) string {
	return "ws" + strings.TrimPrefix(s.URL, "http") + path
}

// join connects a stock client and subscribes it to a channel.
func join(url string, header http.Header, channel string) (*centrifuge.Client, *centrifuge.Subscription, <-chan string) {
	c := centrifuge.NewJsonClient(url, centrifuge.Config{Header: header})
	sub, err := c.NewSubscription(channel)
	if err != nil {
		panic(err)
	}
	said, in := make(chan string, 16), make(chan struct{})
	sub.OnPublication(func(e centrifuge.PublicationEvent) { said <- string(e.Data) })
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { close(in) })
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { said <- fmt.Sprintf("unsubscribed: %d %s", e.Code, e.Reason) })
	if err := c.Connect(); err != nil {
		panic(err)
	}
	if err := sub.Subscribe(); err != nil {
		panic(err)
	}
	select {
	case <-in:
	case s := <-said:
		said <- s
	case <-time.After(10 * time.Second):
		panic("not subscribed")
	}
	return c, sub, said
}

// A chat inside an existing net/http server, next to its other routes. Who a client is
// says the session cookie of that server; who may be in a room, and what is said there,
// say callbacks.
func Example_chat() {
	sessions := map[string]string{"c00k1e": "ann", "b15cu1t": "bob"} // of the host application
	var mu sync.Mutex
	var left []string
	p, stop := inside(server.Callbacks{
		Headers: []string{"Cookie"},
		OnConnecting: func(_ context.Context, r *server.ConnectRequest) (*server.ConnectReply, error) {
			cookies, err := http.ParseCookie(r.Headers["cookie"])
			if err != nil || sessions[cookies[0].Value] == "" {
				return nil, server.Unauthorized()
			}
			return &server.ConnectReply{User: sessions[cookies[0].Value]}, nil
		},
		OnSubscribe: func(_ context.Context, r *server.SubscribeRequest) (*server.SubscribeReply, error) {
			if !strings.HasPrefix(r.Channel, "room-") {
				return nil, server.PermissionDenied()
			}
			return &server.SubscribeReply{}, nil
		},
		OnPublish: func(_ context.Context, r *server.PublishRequest) (*server.PublishReply, error) {
			var text string
			if err := json.Unmarshal(r.Data, &text); err != nil {
				return nil, &server.Error{Code: 400, Message: "say it in a string"}
			}
			data, err := json.Marshal(map[string]string{"from": r.User, "text": text})
			return &server.PublishReply{Data: data}, err
		},
		OnDisconnect: func(_ context.Context, c *server.Client, why server.Disconnect) {
			mu.Lock()
			defer mu.Unlock()
			left = append(left, fmt.Sprintf("%s left: %d %s", c.User, why.Code, why.Reason))
		},
	})

	mux := http.NewServeMux()
	mux.HandleFunc("/about", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "a chat") })
	mux.Handle("/chat", p.Handler())
	s := httptest.NewServer(mux)

	ann, room, said := join(url(s, "/chat"), http.Header{"Cookie": {"session=c00k1e"}}, "room-1")
	bob, _, heard := join(url(s, "/chat"), http.Header{"Cookie": {"session=b15cu1t"}}, "room-1")
	stays, _, refused := join(url(s, "/chat"), http.Header{"Cookie": {"session=b15cu1t"}}, "vault")
	if _, err := room.Publish(context.Background(), []byte(`"hello"`)); err != nil {
		panic(err)
	}
	fmt.Println("ann:", <-said)
	fmt.Println("bob:", <-heard)
	fmt.Println("vault:", <-refused)
	_, err := room.Publish(context.Background(), []byte(`{"not":"a string"}`))
	fmt.Println(err)

	ann.Close()
	bob.Close()
	s.Close()
	stop()
	stays.Close()
	slices.Sort(left)
	fmt.Println(strings.Join(slices.Compact(left), "\n"))
	// Output:
	// ann: {"from":"ann","text":"hello"}
	// bob: {"from":"ann","text":"hello"}
	// vault: unsubscribed: 103 permission denied
	// 400: say it in a string
	// ann left: 3000 connection closed
	// bob left: 3000 connection closed
	// bob left: 3001 shutdown
}

// Publishing from Go, and the other calls of the server API.
func ExampleProgram_API() {
	p, stop := inside(server.Callbacks{
		OnConnecting: func(context.Context, *server.ConnectRequest) (*server.ConnectReply, error) {
			return &server.ConnectReply{User: "ann", Subs: []server.ServerSub{{Channel: "news"}}}, nil
		},
	})
	defer stop()
	s := httptest.NewServer(p.Handler())
	defer s.Close()

	c := centrifuge.NewJsonClient(url(s, "/"), centrifuge.Config{})
	got, ended := make(chan string, 1), make(chan string, 1)
	in := make(chan struct{})
	c.OnSubscribed(func(centrifuge.ServerSubscribedEvent) { close(in) })
	c.OnPublication(func(e centrifuge.ServerPublicationEvent) { got <- e.Channel + " " + string(e.Data) })
	c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { ended <- fmt.Sprint(e.Code, " ", e.Reason) })
	if err := c.Connect(); err != nil {
		panic(err)
	}
	defer c.Close()
	<-in

	ctx := context.Background()
	if err := p.Publish(ctx, "news", []byte(`{"headline":"rain"}`)); err != nil {
		panic(err)
	}
	fmt.Println(<-got)
	info, e := p.API().Channels(ctx, api.ChannelsRequest{})
	fmt.Println(info.Channels["news"].NumClients, "client in news,", e == nil)
	_, e = p.API().Disconnect(ctx, api.DisconnectRequest{User: "ann", Disconnect: &api.Disconnect{Code: 4500, Reason: "good night"}})
	fmt.Println(<-ended, e == nil)
	fmt.Println(p.Publish(ctx, "nowhere:x", []byte(`{}`)))
	// Output:
	// news {"headline":"rain"}
	// 1 client in news, true
	// 4500 good night true
	// 102: unknown channel
}

// A host application whose middleware knows the user already: it says so by a header that
// clients cannot set.
func ExampleProgram_Handler_middleware() {
	cfg := config.Default()
	cfg.Client.UserIDHTTPHeader = "X-Host-User"
	cfg.Channel.WithoutNamespace.AllowSubscribeForClient = true
	p, err := server.New(cfg, server.Options{
		Version: "example", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "example", Random: [24]byte{1},
		Embed: server.Embed{NoListener: true},
	})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()

	loggedIn := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("X-Host-User")
			if _, password, ok := r.BasicAuth(); ok && password == "opensesame" {
				user, _, _ := r.BasicAuth()
				r.Header.Set("X-Host-User", user)
			}
			next.ServeHTTP(w, r)
		})
	}
	s := httptest.NewServer(loggedIn(p.Handler()))
	request := &http.Request{Header: http.Header{}}
	request.SetBasicAuth("ann", "opensesame")
	c, _, said := join(url(s, "/"), request.Header, "news")
	if err := p.Publish(ctx, "news", []byte(`"it works"`)); err != nil {
		panic(err)
	}
	fmt.Println(<-said)
	conns, _ := p.API().Connections(ctx, api.ConnectionsRequest{User: "ann"})
	fmt.Println(len(conns.Connections), "connection of ann")

	c.Close()
	s.Close()
	cancel()
	fmt.Println(<-ended)
	// Output:
	// "it works"
	// 1 connection of ann
	// <nil>
}
