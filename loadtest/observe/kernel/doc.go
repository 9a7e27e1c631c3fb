// Package kernel is what the kernel of this host tells of its sockets: the memory it keeps for them and what went wrong on the way.
// Values read from /proc, which is given as a file system; what cannot be read is said, with its reason, and never guessed.
package kernel
