package presence

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"shoal/server/channel"
)

func deltas(t *testing.T, cfg DeltasConfig) *Deltas {
	t.Helper()
	d, err := NewDeltas(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// note writes a transcript's line: "+ann" joins, "-ann" leaves, "+ann:x" joins with info x.
func note(d *Deltas, name, line string) bool {
	who, info, _ := strings.Cut(line[1:], ":")
	i := &channel.ClientInfo{Client: who, User: "user of " + who}
	if info != "" {
		i.ConnInfo = []byte(info)
	}
	if line[0] == '-' {
		return d.Leave([]byte(name), i)
	}
	return d.Join([]byte(name), i)
}

// lines is the transcript of what f was given.
func lines(signals []channel.Signal) string {
	var out []string
	for _, s := range signals {
		line := "+" + s.Info.Client
		if s.Leave {
			line = "-" + s.Info.Client
		}
		if s.Info.ConnInfo != nil {
			line += ":" + string(s.Info.ConnInfo)
		}
		out = append(out, line)
	}
	return strings.Join(out, " ")
}

func TestWhatCancelsOutIsNotTold(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"join", "+a", "+a"},
		{"leave", "-a", "-a"},
		{"came and went", "+a -a", ""},
		{"came, went, came", "+a -a +a", "+a"},
		{"went and came back", "-a +a", ""},
		{"went and came back with an info", "-a:x +a:x", ""},
		{"came back different", "-a:x +a:y", "-a:x +a:y"},
		{"came back different and went", "-a:x +a:y -a:y", "-a:x"},
		{"came back different, then the same", "-a:x +a:y -a:y +a:x", ""},
		{"no info is not an empty one", "-a +a:y", "-a +a:y"},
		{"order of what remains", "+a +b -c +d -b +e -a", "-c +d +e"},
		{"a later join goes to its later place", "+a +b -a +a", "+b +a"},
		{"joined twice: the later info", "+a:x +b +a:y", "+a:y +b"},
		{"joined twice after a leave", "-a:x +a:y +a:z", "-a:x +a:z"},
		{"joined twice, back to what it was", "-a:x +a:y +a:x", ""},
		{"left twice", "-a -a", "-a"},
		{"joined twice alike", "+a:x +a:x", "+a:x"},
	} {
		d := deltas(t, DeltasConfig{Members: 1})
		for line := range strings.FieldsSeq(c.in) {
			if !note(d, "news", line) {
				t.Errorf("%s: %s was not taken", c.name, line)
			}
			check(t, d)
		}
		got := ""
		n := d.Flush(func(name []byte, signals []channel.Signal) {
			got += lines(signals)
			if string(name) != "news" || len(signals) == 0 {
				t.Errorf("%s: %d signals of %q", c.name, len(signals), name)
			}
		})
		if got != c.want || n != len(strings.Fields(c.want)) || d.Len() != 0 {
			t.Errorf("%s: got %q (%d), want %q", c.name, got, n, c.want)
		}
		check(t, d)
	}
}

func TestChannelsAreKeptApart(t *testing.T) {
	d := deltas(t, DeltasConfig{Members: 1})
	note(d, "a", "+ann")
	note(d, "b", "-ann")
	note(d, "c", "+bob")
	got := ""
	d.FlushChannel([]byte("b"), func(name []byte, s []channel.Signal) { got += string(name) + lines(s) })
	d.FlushChannel([]byte("b"), func([]byte, []channel.Signal) { t.Error("b had nothing left") })
	d.FlushChannel([]byte("unknown"), func([]byte, []channel.Signal) { t.Error("never heard of") })
	d.Flush(func(name []byte, s []channel.Signal) { got += " " + string(name) + lines(s) })
	if want := "b-ann a+ann c+bob"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if d.Flush(func([]byte, []channel.Signal) {}) != 0 {
		t.Error("something left")
	}
}

func TestWhatIsGivenOutMayBeKept(t *testing.T) {
	d := deltas(t, DeltasConfig{Members: 1})
	conn, chann := []byte("conn"), []byte{}
	d.Join([]byte("news"), &channel.ClientInfo{Client: "c1", User: "ann", ConnInfo: conn, ChanInfo: chann})
	conn[0] = 'X'
	var name []byte
	var kept []channel.Signal
	d.Flush(func(n []byte, s []channel.Signal) { name, kept = n, s })
	for i := range 1000 {
		note(d, fmt.Sprint("other", i), "+somebody:else")
	}
	d.Flush(func([]byte, []channel.Signal) {})
	i := kept[0].Info
	if string(name) != "news" || i.Client != "c1" || i.User != "ann" || string(i.ConnInfo) != "conn" || i.ChanInfo == nil || len(i.ChanInfo) != 0 {
		t.Errorf("got %q %+v", name, i)
	}
}

func TestFullIsSaidAndNothingLost(t *testing.T) {
	for name, cfg := range map[string]DeltasConfig{
		"per channel": {Members: 1, ChannelSignalsMax: 3, SignalsMax: 100},
		"in all":      {Members: 1, ChannelSignalsMax: 3, SignalsMax: 3},
		"bytes":       {Members: 1, BytesMax: 3 * len("auser of a")},
	} {
		d := deltas(t, cfg)
		for _, line := range []string{"+a", "+b", "+c"} {
			if !note(d, "news", line) {
				t.Fatalf("%s: %s not taken", name, line)
			}
		}
		if note(d, "news", "+d") || note(d, "news", "+a:longer") {
			t.Errorf("%s: taken above the bound", name)
		}
		if taken := note(d, "chat", "+e"); taken != (name == "per channel") {
			t.Errorf("%s: another channel's signal taken: %v", name, taken)
		}
		if !note(d, "news", "-b") || !note(d, "news", "+d") {
			t.Errorf("%s: what cancels out makes room", name)
		}
		check(t, d)
		got := ""
		d.FlushChannel([]byte("news"), func(_ []byte, s []channel.Signal) { got = lines(s) })
		if got != "+a +c +d" {
			t.Errorf("%s: flushed %q", name, got)
		}
		if !note(d, "news", "+e") {
			t.Errorf("%s: no room after the flush", name)
		}
		check(t, d)
	}
}

func TestAChannelAroundTheNumberDoesNotFlip(t *testing.T) {
	d := deltas(t, DeltasConfig{Members: 100})
	name := []byte("news")
	for i, step := range []struct {
		members int
		want    bool
	}{{100, false}, {101, true}, {100, true}, {99, true}, {76, true}, {75, false}, {76, false}, {100, false}, {101, true}, {0, false}} {
		if got := d.Collects(name, step.members); got != step.want {
			t.Errorf("step %d: %d members: %v, want %v", i, step.members, got, step.want)
		}
		check(t, d)
	}
	if d.names.Len() != 0 {
		t.Error("a channel that is not collected is still known")
	}
	if off := deltas(t, DeltasConfig{}); off.Collects(name, 1<<40) || off.Wants(1<<40, true) {
		t.Error("collects although Members is 0")
	}
}

func TestCollectingOutlivesTheFlush(t *testing.T) {
	d := deltas(t, DeltasConfig{Members: 4})
	d.Collects([]byte("news"), 5)
	note(d, "news", "+a")
	d.Flush(func([]byte, []channel.Signal) {})
	if !d.Collects([]byte("news"), 4) {
		t.Error("it forgot that it collects")
	}
	note(d, "news", "+b")
	if d.Collects([]byte("news"), 3) {
		t.Error("collects below three quarters")
	}
	check(t, d)
	if n := d.FlushChannel([]byte("news"), func([]byte, []channel.Signal) {}); n != 1 || d.names.Len() != 0 {
		t.Errorf("%d signals were left, %d names are", n, d.names.Len())
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []DeltasConfig{
		{Members: -1}, {ChannelSignalsMax: -1}, {BytesMax: -1}, {SignalsMax: -1},
		{ChannelSignalsMax: 10, SignalsMax: 9}, {ChannelSignalsMax: 1 << 40},
	} {
		if _, err := NewDeltas(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

// world is the members of channels as somebody sees them who is told signals.
type world map[string]map[string]string

func (w world) tell(name string, s *channel.Signal) {
	if w[name] == nil {
		w[name] = map[string]string{}
	}
	if s.Leave {
		delete(w[name], s.Info.Client)
		return
	}
	w[name][s.Info.Client] = fmt.Sprintf("%s %q %v %q", s.Info.User, s.Info.ConnInfo, s.Info.ChanInfo == nil, s.Info.ChanInfo)
}

// driveDeltas plays random comings and goings, well ordered per client, through deltas
// with small bounds and windows, and compares who is there with what the raw signals say.
func driveDeltas(t *testing.T, ops []byte) {
	d := deltas(t, DeltasConfig{Members: 1, ChannelSignalsMax: 12, SignalsMax: 30, BytesMax: 600})
	raw, told := world{}, world{}
	here := map[string]*channel.ClientInfo{}
	flush := func(name []byte, signals []channel.Signal) {
		seen := map[string]int{}
		for i := range signals {
			told.tell(string(name), &signals[i])
			if seen[signals[i].Info.Client]++; seen[signals[i].Info.Client] > 2 {
				t.Fatalf("%q is told of more than twice: %s", signals[i].Info.Client, lines(signals))
			}
		}
	}
	for i := 0; i+1 < len(ops); i += 2 {
		if ops[i] > 250 {
			d.Flush(flush)
			for name := range raw {
				if fmt.Sprint(raw[name]) != fmt.Sprint(told[name]) && len(raw[name])+len(told[name]) > 0 {
					t.Fatalf("op %d: %q is told as %v, is %v", i/2, name, told[name], raw[name])
				}
			}
			continue
		}
		name, who := fmt.Sprint("ch", ops[i]%3), fmt.Sprint("c", ops[i]/3%9)
		at := name + who
		signal := channel.Signal{Leave: here[at] != nil, Info: channel.ClientInfo{Client: who, User: who}}
		if signal.Leave {
			signal.Info = *here[at]
			here[at] = nil
		} else {
			if b := ops[i+1]; b%4 == 1 {
				signal.Info.ConnInfo = bytes.Repeat([]byte("i"), int(b%3))
			} else if b%4 == 2 {
				signal.Info.ChanInfo = []byte{}
			}
			info := signal.Info
			here[at] = &info
		}
		raw.tell(name, &signal)
		call := d.Join
		if signal.Leave {
			call = d.Leave
		}
		if !call([]byte(name), &signal.Info) {
			d.FlushChannel([]byte(name), flush)
			told.tell(name, &signal)
		}
		if d.signals > 30 || d.bytes > 600 {
			t.Fatalf("op %d: %d signals of %d B wait", i/2, d.signals, d.bytes)
		}
	}
	check(t, d)
}

func TestTheFlushedAndTheRawAgree(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		ops := make([]byte, 1000)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		driveDeltas(t, append(ops, 255, 0))
	}
}

func FuzzDeltas(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 5, 255, 0, 3, 1, 3, 1, 255, 0})
	f.Fuzz(driveDeltas)
}

func TestMemoryReturnsAfterTheFlush(t *testing.T) {
	d := deltas(t, DeltasConfig{Members: 1, ChannelSignalsMax: 20_000})
	d.Collects([]byte("big"), 100)
	for round := range 2 {
		for i := range 20_000 {
			if !note(d, "big", fmt.Sprintf("+client-%d-%d:info", round, i)) {
				t.Fatal("not taken")
			}
		}
		full := d.HeldBytes()
		t.Logf("%.0f B per signal that waits", float64(full)/20_000)
		if n := d.Flush(func([]byte, []channel.Signal) {}); n != 20_000 {
			t.Errorf("%d flushed", n)
		}
		if held := d.HeldBytes(); held > keepBytes {
			t.Errorf("%d of %d B held after the flush, want %d at most", held, full, keepBytes)
		}
		check(t, d)
	}
	if !d.Collects([]byte("big"), 2) {
		t.Error("Trim forgot the channel")
	}
}

func TestQuietWindowsAllocateOnlyWhatTheyGiveOut(t *testing.T) {
	d := deltas(t, DeltasConfig{Members: 1})
	name := []byte("news")
	info := &channel.ClientInfo{Client: "c1", User: "ann", ConnInfo: []byte("{}")}
	cancel := func() {
		d.Join(name, info)
		d.Leave(name, info)
	}
	cancel()
	if got := testing.AllocsPerRun(1000, cancel); got != 0 {
		t.Errorf("%v allocations for what cancels out, want 0", got)
	}
	window := func() {
		d.Join(name, info)
		d.Flush(func([]byte, []channel.Signal) {})
	}
	window()
	if got := testing.AllocsPerRun(1000, window); got > 2 {
		t.Errorf("%v allocations for a window, want 2: texts and signals", got)
	}
}

func TestDeltasValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(d *Deltas){
		"signals":   func(d *Deltas) { d.signals++ },
		"bytes":     func(d *Deltas) { d.bytes-- },
		"channel":   func(d *Deltas) { d.states[1].signals++ },
		"tail":      func(d *Deltas) { d.states[1].tail = 1 },
		"prev":      func(d *Deltas) { d.entries[1].prev = 0 },
		"before":    func(d *Deltas) { d.entries[1].before = 1 },
		"client":    func(d *Deltas) { d.entries[0].client, d.entries[1].client = d.entries[1].client, d.entries[0].client },
		"text":      func(d *Deltas) { d.texts.Retain(1) },
		"name":      func(d *Deltas) { d.names.Retain(1) },
		"collects":  func(d *Deltas) { d.states[1].collects = true },
		"pair lost": func(d *Deltas) { d.pairs.remove(1, uint64(d.entries[0].client)) },
	} {
		d := deltas(t, DeltasConfig{Members: 1})
		note(d, "news", "+a")
		note(d, "news", "+b")
		damage(d)
		if d.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}

// BenchmarkDeltas is a storm: members of a big channel that come, half of whom go again
// inside the window.
func BenchmarkDeltas(b *testing.B) {
	d, err := NewDeltas(DeltasConfig{Members: 1})
	if err != nil {
		b.Fatal(err)
	}
	name := []byte("big")
	infos := make([]channel.ClientInfo, 4096)
	for i := range infos {
		infos[i] = channel.ClientInfo{Client: fmt.Sprintf("%032d", i), User: fmt.Sprint("user", i), ConnInfo: []byte(`{"name":"somebody"}`)}
	}
	var told int
	b.ReportAllocs()
	for b.Loop() {
		for i := range infos {
			d.Join(name, &infos[i])
		}
		for i := 0; i < len(infos); i += 2 {
			d.Leave(name, &infos[i])
		}
		told += d.Flush(func([]byte, []channel.Signal) {})
	}
	signals := float64(b.N * len(infos) * 3 / 2)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/signals, "ns/signal")
	b.ReportMetric(float64(told)/signals, "told/signal")
}
