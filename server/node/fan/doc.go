// Package fan carries pushes from the publisher to the members on each loop. A channel
// with pushes on their way is a job; what arrives for it until its round begins goes out
// together; jobs take turns, and the lanes of channels share a loop by their weights. What
// one member gets of a round is for the shard to decide.
package fan
