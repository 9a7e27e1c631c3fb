package compat_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
)

// TestTranscripts plays every script on both servers in both encodings and compares what
// they said.
func TestTranscripts(t *testing.T) {
	all := scripts(t)
	allowed := readAllowances(t)
	steps, runs := 0, 0
	t.Run("scripts", func(t *testing.T) {
		for _, sc := range all {
			for _, enc := range []protocol.Type{protocol.TypeJSON, protocol.TypeProtobuf} {
				encoding := strings.ToLower(string(enc))
				if sc.encoding != "" && sc.encoding != encoding {
					continue
				}
				steps += len(sc.steps)
				runs++
				t.Run(sc.name+"/"+encoding, func(t *testing.T) {
					t.Parallel()
					transcript(t, sc, enc, allowed)
				})
			}
		}
	})
	t.Logf("%d scripts, %d runs on each server, %d steps, %d meant differences", len(all), runs, steps, len(allowed.rows))
	if wanted := flag.Lookup("test.run").Value.String(); !t.Failed() && !strings.Contains(wanted, "/") {
		for _, where := range allowed.unused() {
			t.Errorf("%s: %s: the difference does not occur any more; remove it", allowedFile, where)
		}
	}
}

// transcript compares one script in one encoding.
func transcript(t *testing.T, sc *script, enc protocol.Type, allowed *allowances) {
	var records [2][]record
	for i, start := range starters() {
		records[i] = play(t, sc, start(t, profiles()[sc.profile]), enc)
	}
	if testing.Verbose() {
		for _, r := range records[0] {
			t.Logf("%s\n\t%s", r.text, strings.Join(r.lines, "\n\t"))
		}
	}
	if diff := difference(t, sc, records[0], records[1], allowed); diff != "" {
		t.Error(diff)
	}
}
