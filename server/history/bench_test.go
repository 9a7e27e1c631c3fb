package history

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"shoal/server/channel"
)

const (
	benchChannels = 10_000
	benchSize     = 300
	benchNow      = 1_700_000_000_000
	benchEpoch    = "abcdefgh"
)

var benchLimits = Limits{Size: benchSize, TTL: time.Hour, MetaTTL: 24 * time.Hour}

// heap returns the bytes of live objects, and of the pages they are on.
func heap() (live, pages uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.HeapInuse
}

// shape is a kind of publication. payload is what the caller wants kept of it.
type shape struct {
	name string
	make func(i int) *channel.Publication
}

func payload(p *channel.Publication) int {
	n := len(p.Data)
	if p.Info != nil {
		n += len(p.Info.User) + len(p.Info.Client) + len(p.Info.ConnInfo) + len(p.Info.ChanInfo)
	}
	for k, v := range p.Tags {
		n += len(k) + len(v)
	}
	return n
}

func shapes() (all []shape) {
	data := make([]byte, 4096)
	for _, size := range []int{16, 128, 300, 1024, 1300} {
		all = append(all, shape{fmt.Sprint(size), func(int) *channel.Publication {
			return &channel.Publication{Data: data[:size], Time: benchNow}
		}})
	}
	tags := map[string]string{"kind": "goal", "lang": "en"}
	info := &channel.ClientInfo{User: "user-1234567", Client: "0123456789abcdef0123456789abcdef0123", ConnInfo: []byte(`{"name":"Ann"}`)}
	random := rand.New(rand.NewPCG(1, 2))
	return append(all,
		shape{"300-tags", func(int) *channel.Publication {
			return &channel.Publication{Data: data[:300], Time: benchNow, Tags: tags}
		}},
		shape{"300-tags-info", func(int) *channel.Publication {
			return &channel.Publication{Data: data[:300], Time: benchNow, Tags: tags, Info: info}
		}},
		shape{"1300-counter", func(i int) *channel.Publication {
			return &channel.Publication{Data: data[:1295+i%5], Time: benchNow}
		}},
		shape{"100..500", func(int) *channel.Publication {
			return &channel.Publication{Data: data[:100+random.IntN(400)], Time: benchNow}
		}},
		shape{"500..2100", func(int) *channel.Publication {
			return &channel.Publication{Data: data[:500+random.IntN(1600)], Time: benchNow}
		}},
	)
}

// BenchmarkStoredPublication measures the heap that 10,000 channels hold: each with
// 300 publications of 300, of 1,000 (the steady state, in which old ones were
// forgotten), and with 10 of 25.
func BenchmarkStoredPublication(b *testing.B) {
	for _, sh := range shapes() {
		for _, fill := range []struct{ size, appended int }{{300, 300}, {300, 1000}, {10, 25}, {1, 5}} {
			b.Run(fmt.Sprintf("%s/%dof%d", sh.name, fill.size, fill.appended), func(b *testing.B) {
				var over, overPages, pause float64
				for range b.N {
					over, overPages, pause = stored(b, sh, fill.size, fill.appended)
				}
				b.ReportMetric(over, "B/pub-over-payload")
				b.ReportMetric(overPages, "B/pub-over-payload-in-pages")
				b.ReportMetric(pause, "GC-ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func stored(b *testing.B, sh shape, size, appended int) (over, overPages, gcMillis float64) {
	limits := benchLimits
	limits.Size = size
	before, pagesBefore := heap()
	streams := make([]Stream, benchChannels)
	bytes, held := 0, 0
	for c := range streams {
		streams[c].Open(benchNow, benchEpoch, 0)
		n := appended
		if appended > size {
			n += c % 97 // at all places of a chunk
		}
		for i := range n {
			pub := sh.make(i)
			streams[c].Append(benchNow, pub, limits)
			if i >= n-size {
				bytes += payload(pub)
			}
		}
		held += streams[c].HeldBytes()
	}
	live, pages := heap()
	start := time.Now()
	runtime.GC()
	gcMillis = float64(time.Since(start)) / 1e6
	n := float64(benchChannels * size)
	got := float64(live-before) - float64(bytes)
	own := float64(held) + benchChannels*float64(unsafe.Sizeof(Stream{}))
	if off := math.Abs(own - float64(live-before)); off > 0.01*own+1<<20 {
		b.Errorf("HeldBytes says %.0f, the heap grew by %d", own, live-before)
	}
	runtime.KeepAlive(streams)
	return got / n, (float64(pages-pagesBefore) - float64(bytes)) / n, gcMillis
}

func BenchmarkAppend(b *testing.B) {
	for _, sh := range shapes() {
		b.Run(sh.name, func(b *testing.B) {
			var s Stream
			s.Open(benchNow, benchEpoch, 0)
			pub := sh.make(0)
			b.ReportAllocs()
			for b.Loop() {
				s.Append(benchNow, pub, benchLimits)
			}
		})
	}
}

// BenchmarkRead100 reads from one stream (all of it in the processor's caches) and
// from 10,000 in turn.
func BenchmarkRead100(b *testing.B) {
	for _, sh := range shapes() {
		for _, channels := range []int{1, benchChannels} {
			b.Run(fmt.Sprintf("%s/%dchannels", sh.name, channels), func(b *testing.B) {
				streams := make([]Stream, channels)
				for c := range streams {
					streams[c].Open(benchNow, benchEpoch, 0)
					for i := range 400 {
						streams[c].Append(benchNow, sh.make(i), benchLimits)
					}
				}
				q := Query{Since: &channel.Position{Offset: 250}, Limit: 100}
				dst := make([]channel.Publication, 0, 100)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					dst, _ = streams[i%channels].Read(q, dst[:0])
					i += 7
				}
				if len(dst) != 100 {
					b.Fatal(len(dst))
				}
			})
		}
	}
}
