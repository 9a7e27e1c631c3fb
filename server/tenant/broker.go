package tenant

import (
	"shoal/server/broker"
	"shoal/server/channel"
)

// Broker is b with the channels counted that the node is subscribed to, each with its tenant:
// one too many is refused with error 106. For the node's directory, which subscribes to each
// channel once.
func (s *Set) Broker(b broker.Broker) broker.Broker {
	if s == nil {
		return b
	}
	return counted{b, s}
}

type counted struct {
	broker.Broker
	set *Set
}

// Subscribe implements [broker.Broker].
func (c counted) Subscribe(name string) error {
	t := c.set.tenants[c.set.OfChannel(name)]
	if !t.channels.enter() {
		t.refuse(Channels)
		return channel.ErrLimitExceeded.Err()
	}
	err := c.Broker.Subscribe(name)
	if err != nil {
		t.channels.leave()
	}
	return err
}

// Unsubscribe implements [broker.Broker].
func (c counted) Unsubscribe(name string) error {
	c.set.tenants[c.set.OfChannel(name)].channels.leave()
	return c.Broker.Unsubscribe(name)
}
