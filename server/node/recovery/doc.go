// Package recovery decides what of a stream a subscription recovers, and when: many
// sessions that come back at once and recover much each take their turns, so that what is
// made for them and not with the kernel yet stays within a bound ([Gate]).
//
// A recovery that has to wait has done nothing yet: it is no member of its channel, and
// nothing is kept for it. In its turn it reads all that it missed until then.
package recovery
