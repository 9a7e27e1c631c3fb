// Package route knows, for every channel, which loops of the node have members and
// in which wire forms they read, and which wildcard channels there are. Publishers ask
// it; loops tell it.
package route
