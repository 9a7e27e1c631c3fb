// Package brokertest is the suite that every broker must pass, whatever carries its
// publications. It is test support: no server code imports it.
//
//	func TestConformance(t *testing.T) {
//		brokertest.Run(t, func(t *testing.T) broker.Broker { return memory.New() })
//	}
package brokertest
