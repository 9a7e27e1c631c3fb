package memory

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

func BenchmarkPublish(b *testing.B) {
	history := broker.PublishOptions{HistorySize: 300, HistoryTTL: time.Minute, HistoryMetaTTL: time.Hour}
	cache, delta, keyed := history, history, history
	cache.HistorySize = 1
	delta.Previous, delta.Version = true, 1
	var names [1000]string
	for i := range names {
		names[i] = fmt.Sprint("key-", i)
	}
	for _, c := range []struct {
		name string
		o    broker.PublishOptions
		f    func(o *broker.PublishOptions, i int)
	}{
		{"no-history", broker.PublishOptions{}, nil},
		{"history", history, nil},
		{"size-1", cache, nil},
		{"delta-version", delta, func(o *broker.PublishOptions, _ int) { o.Version++ }},
		{"keyed", keyed, func(o *broker.PublishOptions, i int) { o.IdempotencyKey = names[i%len(names)] }},
	} {
		b.Run(c.name, func(b *testing.B) {
			clock := newClock()
			m := New(Config{Clock: clock.now})
			m.Start(refusing{})
			pub := &channel.Publication{Data: make([]byte, 128), Time: 1}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if c.f != nil {
					c.f(&c.o, i)
					if i++; i%len(names) == 0 {
						clock.pass(time.Hour)
					}
				}
				if _, err := m.Publish(ctx, "news", pub, c.o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPublishManyChannels is what a publication costs when its channel is in no cache.
func BenchmarkPublishManyChannels(b *testing.B) {
	clock := newClock()
	m := New(Config{Clock: clock.now})
	m.Start(refusing{})
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprint("channel-", i)
	}
	pub := &channel.Publication{Data: make([]byte, 128), Time: 1}
	o := broker.PublishOptions{HistorySize: 10, HistoryTTL: time.Minute, HistoryMetaTTL: time.Hour}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i++; i%1024 == 0 {
			clock.pass(10 * time.Millisecond)
			m.Expire(1000)
		}
		if _, err := m.Publish(ctx, names[i*7919%len(names)], pub, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeld measures heap and collector with what a busy node may hold.
func BenchmarkHeld(b *testing.B) {
	for _, c := range []struct {
		name                    string
		channels, size, payload int
	}{
		{"3000000pubs-16B", 10_000, 300, 16},
		{"3000000pubs-128B", 10_000, 300, 128},
		{"3000000pubs-1300B", 10_000, 300, 1300},
		{"1000000channels-size1-128B", 1_000_000, 1, 128},
		{"1000000channels-position-only", 1_000_000, 0, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				held(b, c.channels, c.size, c.payload)
			}
		})
	}
}

func held(b *testing.B, channels, size, payload int) {
	live := func() uint64 {
		var st runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&st)
		return st.HeapAlloc
	}
	before := live()
	m := New(Config{Clock: newClock().now})
	m.Start(refusing{})
	pub := &channel.Publication{Data: make([]byte, payload), Time: 1}
	o := broker.PublishOptions{HistorySize: size, HistoryTTL: time.Minute, HistoryMetaTTL: time.Hour}
	for i := range channels {
		name := fmt.Sprint("channel:", i)
		if size == 0 {
			if _, _, err := m.History(ctx, name, broker.HistoryQuery{MetaTTL: time.Hour}, nil); err != nil {
				b.Fatal(err)
			}
		}
		for range size {
			if _, err := m.Publish(ctx, name, pub, o); err != nil {
				b.Fatal(err)
			}
		}
	}
	grown := float64(live() - before)
	start := time.Now()
	runtime.GC()
	b.ReportMetric(float64(time.Since(start))/1e6, "GC-ms")
	b.ReportMetric(grown/float64(channels*max(size, 1))-float64(payload), "B/pub-over-payload")
	b.ReportMetric(float64(m.Stats().HistoryBytes)/grown, "Stats/heap")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkExpire is what one deadline costs.
func BenchmarkExpire(b *testing.B) {
	clock := newClock()
	m := New(Config{Clock: clock.now})
	m.Start(refusing{})
	pub := &channel.Publication{Data: make([]byte, 128)}
	o := broker.PublishOptions{HistorySize: 1, HistoryTTL: time.Minute, HistoryMetaTTL: time.Hour}
	const channels = 100_000
	var spent time.Duration
	n := 0
	for range b.N {
		for i := range channels {
			if _, err := m.Publish(ctx, fmt.Sprint(i), pub, o); err != nil {
				b.Fatal(err)
			}
		}
		clock.pass(time.Minute)
		start := time.Now()
		for m.Expire(1000) == 1000 {
			n += 1000
		}
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent)/float64(n), "ns/deadline")
	b.ReportMetric(0, "ns/op")
}
