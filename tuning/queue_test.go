package tuning

import (
	"testing"
	"testing/fstest"
)

func TestAcceptQueueIsReadByTheNamesOfTheKernel(t *testing.T) {
	const head = "TcpExt: SyncookiesSent ListenOverflows ListenDrops EmbryonicRsts\n"
	for _, c := range []struct {
		name, text string
		want       AcceptQueue
	}{
		{"as it is", head + "TcpExt: 1 22 333 4\nIpExt: InNoRoutes\nIpExt: 5\n", AcceptQueue{22, 333}},
		{"behind another group", "IpExt: InNoRoutes ListenOverflows\nIpExt: 5 6\n" + head + "TcpExt: 1 22 333 4\n", AcceptQueue{22, 333}},
		{"another order", "TcpExt: ListenDrops X ListenOverflows\nTcpExt: 1 2 3\n", AcceptQueue{3, 1}},
		{"an older kernel", "TcpExt: X\nTcpExt: 1\n", AcceptQueue{}},
		{"cut off", head + "TcpExt: 1 22", AcceptQueue{Overflows: 22}},
		{"no numbers", head, AcceptQueue{}},
		{"odd numbers", head + "TcpExt: a -1 3x 4\n", AcceptQueue{}},
		{"nothing", "", AcceptQueue{}},
	} {
		if got := acceptQueueIn(fstest.MapFS{"proc/net/netstat": {Data: []byte(c.text)}}); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	if got := acceptQueueIn(fstest.MapFS{}); got != (AcceptQueue{}) {
		t.Errorf("without the file: got %+v", got)
	}
}
