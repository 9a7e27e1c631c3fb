package loadtest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"shoal/tuning"
)

// spareDescriptors is what a member holds beside its connections: poller, timers, streams, the API's connections.
const spareDescriptors = 64

// demand is what a load test asks of its host.
type demand struct {
	connections int
	sources     int  // addresses they are dialed from; 0 = 1
	bothEnds    bool // the target is on this host, too
}

// check says whether this host is enough. A driver that is given knows what it needs for itself, but not that the target's ends are on
// this host, too.
func (d demand) check(host tuning.Host, s *Surroundings) error {
	switch {
	case s.NewDriver == nil:
		return d.checkLimits(host, 1)
	case d.bothEnds && !s.Spread:
		return d.checkHost(host)
	}
	return nil
}

// checkLimits says whether this host lets so many members hold the connections; a member has a descriptor table of its own. What is
// not known of the host is not judged.
func (d demand) checkLimits(host tuning.Host, members int) error {
	return errors.Join(d.checkDescriptors(host, members), d.checkPorts(host), d.checkHost(host))
}

func (d demand) checkDescriptors(host tuning.Host, members int) error {
	each := (d.connections + members - 1) / members
	need := uint64(each) + spareDescriptors
	if host.Descriptors == 0 || need <= host.Descriptors {
		return nil
	}
	most := max(int64(host.Descriptors)-spareDescriptors, 0)
	what := fmt.Sprintf("%d connections need %d descriptors", d.connections, need)
	if members > 1 {
		what = fmt.Sprintf("%d connections, %d for each of %d members, need %d descriptors", d.connections, each, members, need)
	}
	return fmt.Errorf("%s and this process may have %d: raise the limit (ulimit -n %d), or run several load tests of at most --connections %d each",
		what, host.Descriptors, need, most)
}

func (d demand) checkPorts(host tuning.Host) error {
	ports := int(host.Ports())
	most := ports * max(d.sources, 1)
	if ports == 0 || d.connections <= most {
		return nil
	}
	return fmt.Errorf("%d connections to one address need as many source ports and this host has %d (%d for each of %d source addresses): "+
		"widen them (sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"; shoal doctor --target=loadtest), give more --sources on loopback, or run load tests on more hosts",
		d.connections, most, ports, max(d.sources, 1))
}

// checkHost looks at what all processes of the host share: memory, open files, the connection table. The server's ends count, where
// they are on this host and are not open yet.
func (d demand) checkHost(host tuning.Host) error {
	w := tuning.Want{Conns: d.connections, Sources: d.sources, Target: tuning.LoadTest}
	whose := "load test's ends"
	if d.bothEnds {
		w.Target, whose = tuning.Both, "both ends, since the target is on this host"
	}
	found := tuning.Diagnose(host, w)
	for _, l := range found.Limits {
		if l.Soft || l.Name == "descriptors" || l.Name == "source ports" || l.Conns >= uint64(d.connections) {
			continue
		}
		change := fmt.Sprintf("ask for at most --connections %d", l.Conns)
		for _, f := range found.Findings {
			if f.Name == l.Name {
				change = f.Change + "; or " + change
			}
		}
		return fmt.Errorf("%d connections are more than this host bears: %s is enough for %d (%s; the %s): %s",
			d.connections, l.Name, l.Conns, l.How, whose, change)
	}
	return nil
}

// local says whether an address is this host's.
func local(a netip.Addr) bool {
	if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, one := range all {
		if p, err := netip.ParsePrefix(one.String()); err == nil && p.Addr().Unmap() == a {
			return true
		}
	}
	return false
}
