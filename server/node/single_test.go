package node

import (
	"testing"

	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/channel"
)

// soleUsers is a plan in which a user may have one session, and everybody is user.
func soleUsers(user string) plan {
	return plan{
		channels: channel.Config{WithoutNamespace: channel.Options{AllowSubscribeForClient: true, AllowUserLimitedChannels: true}},
		cfg:      Config{SingleConn: true, Auth: &auth.Authority{Personal: true}},
		backend: &oracle{connect: func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
			return &backend.ConnectReply{User: user}, nil
		}},
	}
}

// A backend may give all clients the same subscriptions: the personal channel of one is
// not written behind them.
func TestSubscriptionsOfABackendAreNotWrittenTo(t *testing.T) {
	common := append(make([]channel.ServerSub, 0, 8), channel.ServerSub{Channel: "news"})
	p := soleUsers("42")
	p.backend.connect = func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
		return &backend.ConnectReply{User: "42", Subs: common}, nil
	}
	h := newHouse(t, p)
	h.guest()
	if behind := common[:2][1].Channel; behind != "" {
		t.Errorf("%q stands behind the backend's subscriptions", behind)
	}
}
