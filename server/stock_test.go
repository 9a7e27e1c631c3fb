package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/centrifugal/centrifuge-go"
)

// connected dials a stock client and waits until it is connected.
func connected(t *testing.T, c *centrifuge.Client) centrifuge.ConnectedEvent {
	t.Helper()
	ch := make(chan centrifuge.ConnectedEvent, 1)
	c.OnConnected(func(e centrifuge.ConnectedEvent) { ch <- e })
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return wait(t, "connected", ch)
}

// subscribed subscribes a stock client and returns its publications.
func subscribed(t *testing.T, c *centrifuge.Client, channel string) (*centrifuge.Subscription, <-chan centrifuge.PublicationEvent) {
	t.Helper()
	sub, err := c.NewSubscription(channel)
	if err != nil {
		t.Fatal(err)
	}
	pubs, done := make(chan centrifuge.PublicationEvent, 1000), make(chan struct{}, 1)
	sub.OnPublication(func(e centrifuge.PublicationEvent) { pubs <- e })
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { done <- struct{}{} })
	sub.OnError(func(e centrifuge.SubscriptionErrorEvent) { t.Errorf("subscription error: %v", e.Error) })
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	wait(t, "subscribed", done)
	return sub, pubs
}

func TestStockClientReceivesWhatTheAPIPublishes(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, nil)
		c := dial(r.ws(), centrifuge.Config{})
		if e := connected(t, c); e.ClientID == "" || e.Version != "test" {
			t.Fatalf("connected as %+v", e)
		}
		_, pubs := subscribed(t, c, "news")
		for i := range 20 {
			if status, body := r.call("publish", fmt.Sprintf(`{"channel":"news","data":{"x":%d}}`, i)); status != 200 || body != `{"result":{}}` {
				t.Fatalf("publish answered %d %s", status, body)
			}
		}
		for i := range 20 {
			if got, want := string(wait(t, "publication", pubs).Data), fmt.Sprintf(`{"x":%d}`, i); got != want {
				t.Fatalf("publication %d is %s, want %s", i, got, want)
			}
		}
	})
}

func TestStockClientsPublishToEachOther(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, nil)
		a, b := dial(r.ws(), centrifuge.Config{}), dial(r.ws(), centrifuge.Config{})
		ida := connected(t, a).ClientID
		connected(t, b)
		subA, pubsA := subscribed(t, a, "room")
		_, pubsB := subscribed(t, b, "room")
		if _, err := subA.Publish(context.Background(), []byte(`{"hello":"b"}`)); err != nil {
			t.Fatal(err)
		}
		for name, pubs := range map[string]<-chan centrifuge.PublicationEvent{"a": pubsA, "b": pubsB} {
			e := wait(t, "publication at "+name, pubs)
			if string(e.Data) != `{"hello":"b"}` || e.Info == nil || e.Info.Client != ida {
				t.Errorf("%s got %s from %+v, want client %s", name, e.Data, e.Info, ida)
			}
		}
	})
}

func TestStockClientIsRefusedByName(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, nil)
		c := dial(r.ws(), centrifuge.Config{})
		connected(t, c)
		for channel, want := range map[string]uint32{"unknown:x": 102, "$private": 103} {
			sub, err := c.NewSubscription(channel)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan centrifuge.UnsubscribedEvent, 1)
			sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { ended <- e })
			if err := sub.Subscribe(); err != nil {
				t.Fatal(err)
			}
			if e := wait(t, "unsubscribed", ended); e.Code != want {
				t.Errorf("%s: ended with %d %s, want %d", channel, e.Code, e.Reason, want)
			}
		}
		_, err := c.History(context.Background(), "news")
		if e := (*centrifuge.Error)(nil); !errors.As(err, &e) || e.Code != 108 {
			t.Errorf("history answered %v, want error 108", err)
		}
	})
}
