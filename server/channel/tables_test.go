package channel

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares got with testdata/name, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -rewrite writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -rewrite and read the diff\ngot:\n%s", name, got)
	}
}

func TestCodeTablesArePublished(t *testing.T) {
	var b strings.Builder
	b.WriteString("The client protocol's codes with what belongs to them. Clients act on them: a change here breaks every client.\n\nerrors\n")
	for c := ErrorCode(0); c < 1000; c++ {
		if c.Known() {
			e := c.Err()
			fmt.Fprintf(&b, "%d %s temporary=%t\n", e.Code, e.Message, e.Temporary)
		}
	}
	b.WriteString("\ndisconnects\n")
	for c := DisconnectCode(0); c < 6000; c++ {
		if c.Known() {
			d := c.Disconnect()
			fmt.Fprintf(&b, "%d %s terminal=%t\n", d.Code, d.Reason, d.Terminal())
		}
	}
	b.WriteString("\nunsubscribes\n")
	for c := UnsubscribeCode(0); c < 3000; c++ {
		if u := c.Unsubscribe(); u.Code == uint32(c) {
			fmt.Fprintf(&b, "%d %s resubscribes=%t\n", u.Code, u.Reason, u.Resubscribes())
		}
	}
	b.WriteString("\ndrops\n")
	for d := Drop(0); int(d) < DropCount; d++ {
		fmt.Fprintf(&b, "%s\n", d)
	}
	golden(t, "tables.txt", b.String())
}

func TestUnknownCodesFallBack(t *testing.T) {
	for _, c := range []ErrorCode{0, 1, 99, 114, 1 << 31} {
		if got := c.Err().Code; got != 100 || c.Known() {
			t.Errorf("error %d: got %d, known %t", c, got, c.Known())
		}
	}
	for _, c := range []DisconnectCode{0, 2999, 3002, 3003, 3007, 3015, 3499, 3510, 1 << 31} {
		if got := c.Disconnect().Code; got != 3004 || c.Known() {
			t.Errorf("disconnect %d: got %d, known %t", c, got, c.Known())
		}
	}
	for _, c := range []UnsubscribeCode{2, 1999, 2503} {
		if got := c.Unsubscribe().Code; got != 2000 {
			t.Errorf("unsubscribe %d: got %d", c, got)
		}
	}
	if got := Drop(200).String(); got != "unknown" {
		t.Errorf("drop 200: got %q", got)
	}
}

func TestTerminalIsByRange(t *testing.T) {
	for code, want := range map[uint32]bool{
		1009: false, 2999: false, 3000: false, 3499: false, 3500: true, 3999: true,
		4000: false, 4499: false, 4500: true, 4999: true, 5000: false,
	} {
		if got := (&Disconnect{Code: code}).Terminal(); got != want {
			t.Errorf("%d: got %t, want %t", code, got, want)
		}
	}
}

func TestReasonsFitACloseFrameAndAreNoJSON(t *testing.T) {
	for c := DisconnectCode(3000); c < 3600; c++ {
		if d := c.Disconnect(); len(d.Reason) > 123 || strings.HasPrefix(d.Reason, "{") {
			t.Errorf("%d: %q", c, d.Reason)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for got, want := range map[string]string{
		ErrUnknownChannel.Err().Error():             "102: unknown channel",
		DisconnectBadRequest.Disconnect().Error():   "3501: bad request",
		(&Error{Code: 1999, Message: "no"}).Error(): "1999: no",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if (Refusal{}).Refused() || !RefuseError(ErrExpired).Refused() || !RefuseDisconnect(DisconnectSlow).Refused() {
		t.Error("Refused does not see what is set")
	}
}
