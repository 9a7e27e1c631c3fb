package engine

import (
	"errors"
	"fmt"
)

// Validate compares the books with the connections; it is slow and for tests. Any goroutine; it waits for the loop.
func (e *Engine) Validate() error {
	answer := make(chan error, 1)
	if err := e.post(func(e *Engine) { answer <- e.validate() }); err != nil {
		return err
	}
	return <-answer
}

func (e *Engine) validate() error {
	var errs []error
	ready, under, owed, borrowed := 0, 0, 0, 0
	for number, at := range e.slots {
		if at == 0 {
			continue
		}
		c := e.conns.At(at - 1)
		if int(c.number) != number {
			errs = append(errs, fmt.Errorf("engine: connection %d is numbered %d", number, c.number))
		}
		if err := c.track.Validate(); err != nil {
			errs = append(errs, err)
		}
		borrowed += c.stream.Held()
		if c.step != stepReady {
			under++
			continue
		}
		ready++
		owed += e.expected(c) - int(c.track.Got)
	}
	check := func(what string, got, want int) {
		if got != want {
			errs = append(errs, fmt.Errorf("engine: %d %s are counted, there are %d", got, what, want))
		}
	}
	check("ready connections", e.count.Ready, ready)
	check("connections under way", e.count.Dialed-e.count.Failed-e.everOpen, under)
	check("connections that died", e.count.Died, e.everOpen-e.count.Ready)
	check("messages under way", e.owed, owed)
	check("borrowed buffers", e.wire.Borrowed(), borrowed)
	return errors.Join(append(errs, e.wire.Validate())...)
}
