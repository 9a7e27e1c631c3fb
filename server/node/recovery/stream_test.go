package recovery

import (
	"testing"

	"shoal/server/channel"
)

func offsets(from, to uint64) (pubs []channel.Publication) {
	for o := from; o != to+1; o++ {
		pubs = append(pubs, channel.Publication{Position: channel.Position{Offset: o}, Data: []byte("12345678")})
	}
	return pubs
}

func at(offset uint64, epoch string) channel.Position {
	return channel.Position{Offset: offset, Epoch: epoch}
}

func TestAStreamIsRecoveredWholeOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		what       string
		since, top channel.Position
		from, to   uint64 // to 0: nothing
		want       bool
	}{
		{"all of it", at(3, "e"), at(5, "e"), 4, 5, true},
		{"of an unknown epoch", at(3, ""), at(5, "e"), 4, 5, true},
		{"of another epoch", at(3, "d"), at(5, "e"), 4, 5, false},
		{"nothing to recover", at(5, "e"), at(5, "e"), 0, 0, true},
		{"nothing, from ahead", at(6, "e"), at(5, "e"), 0, 0, false},
		{"nothing left", at(3, "e"), at(5, "e"), 0, 0, false},
		{"the first is missing", at(3, "e"), at(6, "e"), 5, 6, false},
		{"the last is missing", at(3, "e"), at(6, "e"), 4, 5, false},
	} {
		var pubs []channel.Publication
		if c.to > 0 {
			pubs = offsets(c.from, c.to)
		}
		if got := Stream(c.since, pubs, c.top); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestTheLatestIsNewsOnlyToWhoHasItNot(t *testing.T) {
	for _, c := range []struct {
		what            string
		since, top      channel.Position
		first           uint64 // of the publications; 0 none
		recovered, news bool
	}{
		{"news", at(3, "e"), at(5, "e"), 5, true, true},
		{"of another epoch", at(5, "d"), at(5, "e"), 5, true, true},
		{"from the beginning", at(0, ""), at(5, "e"), 5, true, true},
		{"no news", at(5, "e"), at(5, "e"), 5, true, false},
		{"no news, and it is gone", at(5, "e"), at(5, "e"), 0, true, false},
		{"gone", at(4, "e"), at(5, "e"), 0, false, false},
		{"another is the latest", at(3, "e"), at(5, "e"), 4, false, false},
		{"an empty stream", at(0, ""), at(0, "e"), 0, false, false},
	} {
		var pubs []channel.Publication
		if c.first > 0 {
			pubs = offsets(c.first, c.first)
		}
		if recovered, news := Latest(c.since, pubs, c.top); recovered != c.recovered || news != c.news {
			t.Errorf("%s: recovered %v, news %v; want %v, %v", c.what, recovered, news, c.recovered, c.news)
		}
	}
}

func TestAPageHasAtLeastOne(t *testing.T) {
	for most, want := range map[int]int{0: 1, 8: 1, 15: 1, 16: 2, 23: 2, 24: 3, 1000: 3} {
		if got := Page(offsets(1, 3), most); len(got) != want {
			t.Errorf("a page of %d bytes has %d publications of 8 bytes, want %d", most, len(got), want)
		}
	}
	if got := Page(nil, 100); got != nil {
		t.Errorf("a page of nothing: %v", got)
	}
}

func TestTagsAndInfoCountToo(t *testing.T) {
	p := channel.Publication{Data: []byte("12"), Tags: map[string]string{"ab": "c"},
		Info: &channel.ClientInfo{User: "u", Client: "cc", ConnInfo: []byte("iii"), ChanInfo: []byte("jjjj")}}
	if got := Bytes([]channel.Publication{p, p}); got != 30 {
		t.Errorf("%d bytes, want 30", got)
	}
}
