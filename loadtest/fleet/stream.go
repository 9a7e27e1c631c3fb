package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// strangerBytesMax bounds a line of somebody who was not let in yet.
	strangerBytesMax = 16 << 10
	// lineBytesMax bounds a line of the other side: an assignment with tokens for many channels, results with many publications.
	lineBytesMax = 64 << 20
	// queueMax is how many lines may wait for the other side to read.
	queueMax = 64
	// flushTime is how long a last line has to get out.
	flushTime = 2 * time.Second
)

// errUnread: the other side takes nothing any more.
var errUnread = errors.New("does not read what it is sent")

// stream carries messages over a connection or a pair of pipes. send is for any goroutine, read for one.
type stream struct {
	rwc io.ReadWriteCloser // Close ends a Read and a Write under way
	in  *bufio.Reader
	max int         // bytes of a line; the reader's
	out chan []byte // lines; nil = no more follow
	end context.Context
	cut context.CancelCauseFunc
}

// newStream begins to write what send takes.
func newStream(rwc io.ReadWriteCloser) *stream {
	s := &stream{rwc: rwc, in: bufio.NewReaderSize(rwc, 4<<10), max: strangerBytesMax, out: make(chan []byte, queueMax)}
	s.end, s.cut = context.WithCancelCause(context.Background())
	go s.write()
	return s
}

// write writes until the stream is closed.
func (s *stream) write() {
	for {
		select {
		case <-s.end.Done():
			return
		case line := <-s.out:
			if line == nil {
				s.close(io.EOF)
				return
			}
			if _, err := s.rwc.Write(line); err != nil {
				s.close(err)
				return
			}
		}
	}
}

// send hands a message over to be written. It never waits: when too many lie there already the stream is closed.
func (s *stream) send(m message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("a message cannot be encoded: %w", err) // a value that is no JSON, such as an infinite rate
	}
	if len(line) >= lineBytesMax {
		return fmt.Errorf("a message of %d bytes; at most %d can be sent", len(line), lineBytesMax)
	}
	if s.end.Err() != nil {
		return context.Cause(s.end)
	}
	select {
	case s.out <- append(line, '\n'):
		return nil
	default:
		s.close(errUnread)
		return errUnread
	}
}

// read waits for the next message.
func (s *stream) read() (m message, err error) {
	line, err := s.line()
	if err != nil {
		if cause := context.Cause(s.end); cause != nil {
			err = cause
		}
		return m, err
	}
	if err := json.Unmarshal(line, &m); err != nil || m.empty() {
		return m, fmt.Errorf("sent something that is none of this protocol: %.60q", line)
	}
	return m, nil
}

// line reads to the next line feed, and no further than allowed.
func (s *stream) line() (line []byte, err error) {
	for {
		part, err := s.in.ReadSlice('\n')
		if len(line)+len(part) > s.max {
			return nil, fmt.Errorf("sent a line of more than %d bytes", s.max)
		}
		if err == nil && line == nil {
			return part, nil
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0:
			return nil, fmt.Errorf("ended in the middle of a line: %.60q", line)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// last sends a message after which nothing follows, gives it a moment to get out and closes.
func (s *stream) last(m message) {
	if s.send(m) == nil {
		s.finish()
	}
	s.close(io.EOF)
}

// finish writes what waits, for a moment at most, and closes.
func (s *stream) finish() {
	select {
	case s.out <- nil:
	default:
		s.close(errUnread)
		return
	}
	ctx, cancel := context.WithTimeout(s.end, flushTime)
	defer cancel()
	<-ctx.Done()
	s.close(io.EOF)
}

// close ends the stream both ways; the first cause counts.
func (s *stream) close(cause error) {
	s.cut(cause)
	s.rwc.Close()
}

// pair is one stream of two.
type pair struct {
	io.Reader
	io.Writer
	closers []io.Closer
	once    sync.Once
}

// Close implements io.Closer.
func (p *pair) Close() (err error) {
	p.once.Do(func() {
		for _, c := range p.closers {
			err = errors.Join(err, c.Close())
		}
	})
	return err
}
