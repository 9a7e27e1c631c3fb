package engine

import (
	"strings"
	"testing"
)

// A refusal must not be taken for the answer behind it, whose bytes move to its place.
func TestPipelinedAnswersAreJudgedEachByItself(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n"
	a := &api{in: []byte(head + `{"error":{"code":102}}` + head + `{"result":{"offset":1}}`[:22] + head)}
	if outcome, whole, err := a.take(); outcome == nil || !strings.Contains(outcome.Error(), `"code":102`) || !whole || err != nil {
		t.Errorf("the refusal is read as %v, %v, %v", outcome, whole, err)
	}
	if outcome, whole, err := a.take(); outcome != nil || !whole || err != nil {
		t.Errorf("the result is read as %v, %v, %v", outcome, whole, err)
	}
	if _, whole, err := a.take(); whole || err != nil || string(a.in) != head {
		t.Errorf("half an answer: %v, %v; %q is left", whole, err, a.in)
	}
}
