// Package pace is the plan of an open loop: when the n-th of something is due, whether or not those before have been served. Members
// who share a plan take turns, so that all together keep its rate. It knows no clock.
package pace
