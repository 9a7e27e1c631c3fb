package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/server"
	"shoal/server/channel"
	"shoal/server/config"
)

//go:embed page.html
var page []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ln, err := net.Listen("tcp", "localhost:8080")
	if err == nil {
		log.Info("open it in two windows", "url", "http://"+ln.Addr().String())
		err = run(ctx, ln, log)
	}
	if err != nil {
		log.Error("the chat ended", "error", err)
		os.Exit(1)
	}
}

// run serves the chat on ln until ctx ends.
func run(ctx context.Context, ln net.Listener, log *slog.Logger) error {
	c := &chat{log: log, users: map[string]string{}}
	cfg := config.Default()
	cfg.Channel.Namespaces = []channel.Options{{
		Name: "room", Presence: true, JoinLeave: true,
		HistorySize: 100, HistoryTTL: time.Hour, ForceRecovery: true, // who reconnects misses nothing
	}}
	options := server.Options{
		Version: "chat", Clock: time.Now, Logger: log, UID: "chat",
		Embed: server.Embed{NoListener: true, Callbacks: c.callbacks()},
	}
	if _, err := rand.Read(options.Random[:]); err != nil {
		return err
	}
	var err error
	if c.shoal, err = server.New(cfg, options); err != nil {
		return err
	}
	web := &http.Server{Handler: c.routes(), ReadHeaderTimeout: 5 * time.Second}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.shoal.Run(ctx) }) // ends sessions with 3001, and then itself
	g.Go(func() error {
		if err := web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return web.Shutdown(context.WithoutCancel(ctx)) // does not wait for WebSocket
	})
	return g.Wait()
}

// chat is the host application.
type chat struct {
	log   *slog.Logger
	shoal *server.Program

	mu    sync.Mutex
	users map[string]string // by the value of the session cookie
}

// routes are the application's pages, and the one for WebSocket.
func (c *chat) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	mux.HandleFunc("POST /login", c.login)
	mux.Handle("/live", c.shoal.Handler())
	return mux
}

const cookieName = "session"

// login gives a visitor a session, and tells the room.
func (c *chat) login(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	if ok, _ := regexp.MatchString("^[a-z]{1,20}$", name); !ok {
		http.Error(w, "A name is 1 to 20 small letters.", http.StatusBadRequest)
		return
	}
	session := rand.Text()
	c.mu.Lock()
	c.users[session] = name
	c.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: session, HttpOnly: true, SameSite: http.SameSiteStrictMode, Path: "/"})
	if err := c.shoal.Publish(r.Context(), "room:lobby", said("server", name+" is on the way")); err != nil {
		c.log.Warn("the room was not told", "error", err)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// callbacks are what the chat wants to decide.
func (c *chat) callbacks() server.Callbacks {
	return server.Callbacks{
		Headers:      []string{"Cookie"},
		OnConnecting: c.connecting,
		OnSubscribe: func(_ context.Context, r *server.SubscribeRequest) (*server.SubscribeReply, error) {
			if r.Channel != "room:lobby" {
				return nil, server.PermissionDenied()
			}
			return &server.SubscribeReply{}, nil
		},
		OnPublish: func(_ context.Context, r *server.PublishRequest) (*server.PublishReply, error) {
			var text string
			if err := json.Unmarshal(r.Data, &text); err != nil || text == "" || len(text) > 500 {
				return nil, &server.Error{Code: 400, Message: "say 1 to 500 bytes of text"}
			}
			return &server.PublishReply{Data: said(r.User, text)}, nil
		},
		OnDisconnect: func(_ context.Context, client *server.Client, why server.Disconnect) {
			c.log.Info("gone", "user", client.User, "code", why.Code, "reason", why.Reason)
		},
	}
}

// connecting finds the user of the application's session.
func (c *chat) connecting(_ context.Context, r *server.ConnectRequest) (*server.ConnectReply, error) {
	request := http.Request{Header: http.Header{"Cookie": {r.Headers["cookie"]}}}
	cookie, err := request.Cookie(cookieName)
	if err != nil {
		return nil, server.Unauthorized()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	user, ok := c.users[cookie.Value]
	if !ok {
		return nil, server.Unauthorized()
	}
	return &server.ConnectReply{User: user, Info: fmt.Appendf(nil, `{"name":%q}`, user)}, nil
}

// said is a publication of the room.
func said(from, text string) []byte {
	data, err := json.Marshal(map[string]string{"from": from, "text": text})
	if err != nil {
		panic(err) // strings are always JSON
	}
	return data
}
