package loadtest

import (
	"fmt"

	"shoal/tuning"
)

// spareDescriptors is what the process holds beside the connections: poller, timers, streams, the API's connection.
const spareDescriptors = 64

// checkLimits says whether this host lets one process hold the connections. What is not known of it is not judged.
func (c *Config) checkLimits(host tuning.Host, sources int) error {
	if descriptors := host.Descriptors; descriptors > 0 && uint64(c.Connections)+spareDescriptors > descriptors {
		most := max(int64(descriptors)-spareDescriptors, 0)
		return fmt.Errorf("%d connections need %d descriptors and this process may have %d: raise the limit (ulimit -n %d), "+
			"or run several load tests of at most --connections %d each", c.Connections, c.Connections+spareDescriptors, descriptors,
			c.Connections+spareDescriptors, most)
	}
	ports := int(host.Ports())
	if most := ports * max(sources, 1); ports > 0 && c.Connections > most {
		return fmt.Errorf("%d connections to one address need as many source ports and this host has %d (%d for each of %d source addresses): "+
			"widen them (sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"; shoal doctor --target=loadtest), give more --sources on loopback, or run load tests on more hosts",
			c.Connections, most, ports, max(sources, 1))
	}
	return nil
}
