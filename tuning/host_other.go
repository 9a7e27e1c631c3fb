//go:build !linux

package tuning

// ReadHost knows only Linux; elsewhere nothing is known and Check finds nothing.
func ReadHost() Host { return Host{} }

// ReadAcceptQueue knows only Linux.
func ReadAcceptQueue() AcceptQueue { return AcceptQueue{} }

// ReadMemory knows nothing here.
func ReadMemory() Memory { return nil }
