package memory

import (
	"context"
	"errors"
	"testing"

	"shoal/server/broker"
	"shoal/server/broker/brokertest"
	"shoal/server/channel"
)

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(*testing.T) broker.Broker { return New() })
}

type refusing struct{ err error }

func (r refusing) Deliver(string, *channel.Publication) error { return r.err }

func TestPublishTellsWhatTheNodeSaid(t *testing.T) {
	b, full := New(), errors.New("full")
	b.Start(refusing{full})
	if _, err := b.Publish(context.Background(), "a", &channel.Publication{}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	b.Start(refusing{nil})
	if _, err := b.Publish(context.Background(), "a", &channel.Publication{}); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	b := New()
	b.Start(refusing{nil})
	ctx, pub := context.Background(), &channel.Publication{Data: []byte("{}")}
	if n := testing.AllocsPerRun(100, func() { _, _ = b.Publish(ctx, "news", pub) }); n != 0 {
		t.Errorf("%v allocations per publication", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	m := New()
	m.Start(refusing{nil})
	ctx, pub := context.Background(), &channel.Publication{Data: []byte("{}")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Publish(ctx, "news", pub); err != nil {
			b.Fatal(err)
		}
	}
}
