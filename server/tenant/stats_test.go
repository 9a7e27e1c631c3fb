package tenant

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

// subscribed is a broker that takes every subscription, or fails.
type subscribed struct {
	broker.Broker
	names map[string]bool
	fail  error
}

func (b *subscribed) Subscribe(name string) error {
	if b.fail == nil {
		b.names[name] = true
	}
	return b.fail
}

func (b *subscribed) Unsubscribe(name string) error {
	delete(b.names, name)
	return nil
}

func TestChannelsAreCountedByTheirNames(t *testing.T) {
	s := two(t)
	under := &subscribed{names: map[string]bool{}}
	b := s.Broker(under)
	for _, name := range []string{"acme:a", "acme:b", "blue:a", "news"} {
		if err := b.Subscribe(name); err != nil {
			t.Error(err)
		}
	}
	if err := s.Validate([]Actual{{0, 1, 0}, {0, 2, 0}, {0, 1, 0}}); err != nil {
		t.Error(err)
	}
	var e *channel.Error
	if err := b.Subscribe("acme:c"); !errors.As(err, &e) || e.Code != 106 || under.names["acme:c"] || s.refusals(1, Channels) != 1 {
		t.Errorf("one channel too many: %v", err)
	}
	if err := b.Unsubscribe("acme:a"); err != nil {
		t.Error(err)
	}
	under.fail = errors.New("no")
	for range 5 {
		if err := b.Subscribe("acme:c"); !errors.Is(err, under.fail) {
			t.Errorf("a failure of the broker is %v", err)
		}
	}
	if under.fail = nil; b.Subscribe("acme:c") != nil {
		t.Error("what failed is counted")
	}
	for _, name := range []string{"acme:b", "acme:c", "blue:a", "news"} {
		_ = b.Unsubscribe(name)
	}
	if err := s.Validate(make([]Actual, 3)); err != nil {
		t.Error(err)
	}
	if err := s.Validate([]Actual{{1, 0, 0}, {}, {0, 0, 1}}); err == nil || strings.Count(err.Error(), "are counted") != 2 {
		t.Errorf("what is counted wrong: %v", err)
	}
}

// What is refused is said in the log: at once, then every ten seconds with how often.
func TestRefusalsAreReportedSeldom(t *testing.T) {
	var out bytes.Buffer
	rules, _ := channel.Compile(channel.Config{})
	s, err := New(Config{Claim: "tenant", List: []Options{{Name: "acme", ChannelPrefixes: []string{"acme:"}, Limits: Limits{ConnectionLimit: 1}}}},
		Host{Rules: rules, Epoch: epoch, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	d := s.Desk()
	enter(t, d, 1, "acme")
	said := func(at time.Duration, want ...string) {
		t.Helper()
		out.Reset()
		s.Report(epoch.Add(at))
		if n := strings.Count(out.String(), "\n"); n != len(want) {
			t.Errorf("at %s: %d lines, want %d: %s", at, n, len(want), out.String())
		}
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("at %s: says nothing of %s: %s", at, text, out.String())
			}
		}
	}
	try := func(n int, name string) {
		for range n {
			d.Enter(2, name, nil, channel.Refusal{})
		}
	}
	said(0)
	try(3, "acme")
	said(time.Second, `tenant=acme limit=connections refused=3`)
	try(4, "acme")
	said(2 * time.Second)
	try(2, "red\n")
	said(3*time.Second, `"such as"="red\n" refused=2`)
	said(12*time.Second, `tenant=acme limit=connections refused=4`)
	said(30 * time.Second)
}

func TestLimitsHaveLabels(t *testing.T) {
	seen := map[string]bool{}
	for l := range limitCount {
		if label := l.String(); seen[label] || label == "none" || strings.Contains(label, ",") {
			t.Errorf("limit %d is called %q", l, label)
		}
		seen[l.String()] = true
	}
	if limitCount.String() != "none" {
		t.Error("the end has a name")
	}
}
