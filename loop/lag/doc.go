// Package lag keeps how long the passes of an event loop took: what becomes ready during one waits for its end. A Lag is
// a histogram with fixed bounds, owned by whoever counts in it; it reads no clock and knows no loop.
package lag
