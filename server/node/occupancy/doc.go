// Package occupancy tells the backend which channels are occupied and which were vacated.
// What it is told lags behind by [Delay], so that a page that is loaded anew tells nothing;
// it is told again until it took it, and of one channel one thing after the other.
package occupancy
