// Package brokertest is the suite that every broker must pass, whatever carries its
// publications. It is test support: no server code imports it.
//
//	func TestConformance(t *testing.T) {
//		brokertest.Run(t, func(t *testing.T) brokertest.Subject {
//			clock := …
//			return brokertest.Subject{Broker: memory.New(memory.Config{Clock: clock.now}), Pass: clock.pass}
//		})
//	}
//
// Nothing here takes for granted that a publication was delivered when Publish
// returns, nor that times are kept more exactly than to the second.
package brokertest
