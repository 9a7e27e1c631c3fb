// Package relief decides which conns have to go when what waits for slow peers comes near to what a node may hold: the
// largest backlogs, of all loops. It is arithmetic over sums that the loops report; it knows no conn and no loop.
package relief
