// Package compat holds no code: its tests drive Shoal and the reference server with the
// same clients and compare what both say, field by field.
//
//   - testdata/*.txt are scripts, a line a step, that a raw WebSocket client plays in JSON
//     and in Protobuf (testdata/README.md tells the format). The two transcripts must
//     be equal but for the rows of testdata/allowed.txt, each with its reason.
//   - stock_test.go lets the stock centrifuge-go client live through connects, recoveries,
//     refreshes and forced reconnects, and compares the two logs of its events.
//   - js/ does the same with the stock centrifuge package of npm.
//
// The reference server is the library github.com/centrifugal/centrifuge behind handlers
// that decide as Centrifugo does by its documentation. It is imported by tests only.
//
// A new script is some lines in testdata; run it with
//
//	go test ./server/compat -run 'Transcripts/name'
package compat
