// Package tenant divides a node between tenants: who is of which, what each may have, and
// who comes first.
//
// A session is of the tenant that its connection token names, a channel of the one whose
// prefix it has. What no other claims is the default tenant's: its sessions are everybody
// else's, its channels are common to all. A session may enter the channels of its own tenant
// and the common ones ([Desk.May]); a wildcard stands for channels of its own tenant only
// ([Set.Covers]). The server's API may do anything.
//
// What is counted, and with whom: connections, memberships, commands and questions to the
// backend with the session's tenant, channels by their names, publications of the API with the
// channel's tenant. So who causes something pays for it.
//
// What waits for slow clients is not counted as it comes and goes, but looked at, in slices and
// only while much waits on the node ([Desk.Relieve]): where a tenant is near its limit its
// largest backlogs are cut.
//
// Questions to the backend that are over a limit wait here, without a worker, in the order of
// the classes ([Desk.Submit]).
//
// A [Set] is made once and shared by all goroutines: its counters are atomic, and one lock
// guards the questions. A [Desk] is one loop's part of it: a byte for each slot, in a column
// that exists only where there are tenants. Nil stands for a node without tenants, for both,
// and costs a comparison. The package reads no clock: time is a parameter.
package tenant
