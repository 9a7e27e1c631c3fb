// Package message is what the messages of a load test say and how a receiver checks them: a payload that carries its run, its
// addressee, its sequence and the time it was due ([Filler], [Header]), and the bookkeeping of the sequences that came ([Track]).
// Values only: no socket, no clock.
package message
