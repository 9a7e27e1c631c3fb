package worker

import (
	"fmt"
	"time"
)

// Class is the priority of a job.
type Class uint8

// The classes, best first. Submit uses Standard.
const (
	Premium Class = iota
	Standard
	Basic
	classes
)

// String returns the name, which is also a metric label.
func (c Class) String() string {
	if c >= classes {
		return fmt.Sprintf("class-%d", uint8(c))
	}
	return [classes]string{"premium", "standard", "basic"}[c]
}

// Error is the type of this package's errors, which are constants.
type Error string

// Error returns the text.
func (e Error) Error() string { return string(e) }

const (
	// ErrQueueFull says that as many jobs of the class wait as may: the caller
	// must slow down or refuse. The job was not taken.
	ErrQueueFull = Error("worker: queue is full: jobs come faster than they end; send less or raise the workers or the queue limit")
	// ErrClosed says that the pool is closing. The job was not taken.
	ErrClosed = Error("worker: pool is closed")
)

const (
	// WorkersDefault, QueueDefault and IdleDefault are what zero fields of Config
	// mean.
	WorkersDefault = 64
	QueueDefault   = 1024
	IdleDefault    = 10 * time.Second
)

// Config configures a [Pool]. The zero value is good.
type Config struct {
	// Workers is the most goroutines, and so the most jobs that run at a time.
	// 0 means WorkersDefault.
	Workers int
	// QueueMax is the most jobs of one class that wait. 0 means QueueDefault.
	QueueMax int
	// JobTimeout ends the context of a job that runs this long. 0 means never.
	JobTimeout time.Duration
	// IdleAfter is how long a worker without a job waits for one before it ends.
	// 0 means IdleDefault.
	IdleAfter time.Duration
	// OnPanic is called, on the worker's goroutine, with what a job panicked
	// with and its stack. nil means that the panic is only counted.
	OnPanic func(value any, stack []byte)
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.Workers < 0:
		return fmt.Errorf("worker: Workers is %d; use at least 1, or 0 for the default", c.Workers)
	case c.QueueMax < 0:
		return fmt.Errorf("worker: QueueMax is %d; use at least 1, or 0 for the default", c.QueueMax)
	case c.JobTimeout < 0:
		return fmt.Errorf("worker: JobTimeout is %v; use 0 for none", c.JobTimeout)
	case c.IdleAfter < 0:
		return fmt.Errorf("worker: IdleAfter is %v; use 0 for the default", c.IdleAfter)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = WorkersDefault
	}
	if c.QueueMax == 0 {
		c.QueueMax = QueueDefault
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = IdleDefault
	}
	return c
}

// Stats is the state of a pool at a moment.
type Stats struct {
	Workers   int       // goroutines
	Running   int       // jobs being run
	Queued    [3]int    // jobs waiting, by class
	Submitted uint64    // jobs accepted
	Done      uint64    // jobs that ended, the panicked included
	Refused   [3]uint64 // jobs refused because a queue was full, by class
	Panics    uint64    // jobs that panicked or ended their goroutine
}
