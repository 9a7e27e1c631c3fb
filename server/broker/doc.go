// Package broker is the door between nodes: publications go in at one node and
// come out, in the same order, at every node that has subscribers.
//
// The interface is the seam for the cluster: [memory] serves a single node; Redis
// and NATS stand behind the same interface and must pass the same suite, which is
// package brokertest.
package broker
