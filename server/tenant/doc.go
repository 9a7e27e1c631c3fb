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
// A [Set] is made once and shared by all goroutines: its counters are atomic, what has to wait
// for its turn to be asked is under one lock for each tenant. A [Desk] is one loop's part of
// it: a byte for each slot, in a column that exists only where there are tenants. Nil stands
// for a node without tenants, for both, and costs a comparison. The package reads no clock:
// time is a parameter.
package tenant
