package poster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// outcomes are what a pool told.
type outcomes []string

func (o *outcomes) told(it Item, err error) {
	text := "ok"
	if err != nil {
		text = err.Error()
	}
	*o = append(*o, fmt.Sprintf("%d/%d %s", it.Ref, it.Seq, text))
}

// asked is a poster that waits for the answers to requests of so many publications.
func asked(o *outcomes, sizes ...int) *poster {
	p := New([]API{{}}, 1, o.told).posters[0]
	for i, n := range sizes {
		p.sizes = append(p.sizes, n)
		for k := range n {
			p.asked = append(p.asked, Item{Ref: uint32(i), Seq: uint32(k + 1)})
		}
	}
	return p
}

func response(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// A refusal must not be taken for the answer behind it, whose bytes move to its place.
func TestPipelinedAnswersAreJudgedEachByItself(t *testing.T) {
	all := slices.Concat(response(`{"error":{"code":102}}`), response(`{"result":{"offset":1}}`),
		response(`{"replies":[{"publish":{}},{"error":{"code":7}},{"error":null,"publish":{}}]}`), response(`{"result":{}}`))
	for cut := range all {
		var o outcomes
		p := asked(&o, 1, 1, 3, 1)
		if err := errors.Join(p.read(all[:cut]), p.read(all[cut:])); err != nil {
			t.Fatal(err)
		}
		if len(o) != 6 || !strings.Contains(o[0], `0/1`) || !strings.Contains(o[0], `"code":102`) || o[1] != "1/1 ok" || o[2] != "2/1 ok" ||
			!strings.Contains(o[3], `"code":7`) || o[4] != "2/3 ok" || o[5] != "3/1 ok" || len(p.asked)+len(p.sizes)+len(p.in) != 0 {
			t.Fatalf("cut at %d: %q, %+v", cut, o, p)
		}
	}
}

func TestAnswersThatCannotBeAreRefused(t *testing.T) {
	var o outcomes
	if err := asked(&o).read(response(`{"result":{}}`)); err == nil || !strings.Contains(err.Error(), "not asked") {
		t.Errorf("an answer without a request: %v", err)
	}
	if err := asked(&o, 1).read([]byte("SSH-2.0\r\n\r\n")); err == nil {
		t.Error("no HTTP, and no error")
	}
	if err := asked(&o, 3).read(response(`{"replies":[]}`)); err != nil || len(o) != 3 || !strings.Contains(o[2], "a batch of 3") {
		t.Errorf("a batch without replies: %v, %q", err, o)
	}
}

func TestWhatIsGivenUpIsToldOnce(t *testing.T) {
	var o outcomes
	p := asked(&o, 2, 1)
	p.add([]byte(`"c"`), []byte(`{}`), -1, Item{Ref: 9, Seq: 9}) // being made: it is sent another time
	p.fail(errors.New("gone"))
	if want := []string{"0/1 gone", "0/2 gone", "1/1 gone"}; !slices.Equal(o, want) || len(p.asked) != 1 || p.n != 1 {
		t.Errorf("%q, want %q; %+v", o, want, p)
	}
	p.pool.Close()
	p.sizes, p.n = []int{1}, 0
	if p.fail(errors.New("gone")); len(o) != 3 {
		t.Errorf("told after Close: %q", o)
	}
}

// What one of several servers refuses, or does not answer, was not published.
func TestAPublicationIsConfirmedWhenAllServersHave(t *testing.T) {
	var o outcomes
	p := New([]API{{}, {}}, 3, o.told)
	for seq := range uint32(4) {
		p.Add(1, []byte(`"news"`), []byte(`{}`), -1, Item{Ref: 5, Seq: seq + 1})
	}
	if p.Conns() != 3 || len(p.posters) != 6 || len(p.posters[1].asked) != 4 || len(p.posters[4].asked) != 4 {
		t.Fatalf("%d connections; asked %d and %d", len(p.posters), len(p.posters[1].asked), len(p.posters[4].asked))
	}
	first, second := p.posters[1], p.posters[4]
	for _, one := range []*poster{first, second} {
		one.sizes, one.n, one.next = []int{1, 1, 2}, 0, nil
	}
	ok, refused := response(`{"result":{}}`), response(`{"error":{"code":102}}`)
	steps := []struct {
		one  *poster
		said []byte
		told int
	}{{first, ok, 0}, {first, refused, 0}, {second, ok, 1}, {second, ok, 2}}
	for i, s := range steps {
		if err := s.one.read(s.said); err != nil || len(o) != s.told {
			t.Fatalf("after answer %d: %v, told %q", i, err, o)
		}
	}
	first.fail(errors.New("gone"))
	if err := second.read(response(`{"replies":[{"publish":{}},{"publish":{}}]}`)); err != nil {
		t.Fatal(err)
	}
	if len(o) != 4 || o[0] != "5/1 ok" || !strings.Contains(o[1], "102") || o[2] != "5/3 gone" || o[3] != "5/4 gone" || len(p.waiting) != 0 {
		t.Errorf("told %q, %d waiting", o, len(p.waiting))
	}
}
