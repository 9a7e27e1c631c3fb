package deflate

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/klauspost/compress/flate"
)

// CodecConfig sizes a [Codec].
type CodecConfig struct {
	// Level of compression: 1 (fastest) to 9. 0 means 1. A compressor of level 1 holds 0.75 MiB, of the others 0.9 to
	// 1.4 MiB (TestCompressorMemory). Above 6 a short message costs ten times as much: 12 µs go into clearing tables.
	Level int
	// IdleMax is how many compressors of each kind, and how many inflaters, are kept while nobody uses them. There are
	// never more inflaters than goroutines inside Decompress plus IdleMax. 0 means 1.
	IdleMax int
	// CompressorsMax bounds the compressors in use at once; one more message is answered with ErrBusy, and is to be sent as
	// it is. 0 means 16.
	CompressorsMax int
}

const compressorsDefault = 16

// ErrBusy says that all compressors are in use.
var ErrBusy = errors.New("deflate: all compressors are in use")

// Validate reports the first field that is out of its range, and the range.
func (c CodecConfig) Validate() error {
	if c.Level < 0 || c.Level > 9 {
		return fmt.Errorf("deflate: compression level %d does not exist: use 1 (fast) to 9 (small)", c.Level)
	}
	if c.IdleMax < 0 || c.IdleMax > 1024 {
		return fmt.Errorf("deflate: %d idle compressors are not between 0 and 1024", c.IdleMax)
	}
	if c.CompressorsMax < 0 {
		return fmt.Errorf("deflate: %d compressors cannot be: use at least 1, or 0 for %d", c.CompressorsMax, compressorsDefault)
	}
	return nil
}

// Codec compresses and inflates whole messages without context takeover. Safe for concurrent use; compressors are borrowed
// for one call from small free lists. Its buffers are the caller's; nothing of a message outlives the call.
type Codec struct {
	level     int
	wide      chan *compressor // 32 KiB window
	narrow    chan *compressor // some smaller window, the last one wanted
	inflaters chan *inflater

	compressorsMax int32
	used           atomic.Int32 // compressors lent
}

// New returns a Codec. Nothing big is allocated before the first use.
func New(cfg CodecConfig) (*Codec, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	level, idle := max(cfg.Level, 1), max(cfg.IdleMax, 1)
	return &Codec{
		level:     level,
		wide:      make(chan *compressor, idle),
		narrow:    make(chan *compressor, idle),
		inflaters: make(chan *inflater, idle),

		compressorsMax: int32(cmp.Or(cfg.CompressorsMax, compressorsDefault)),
	}, nil
}

// Compress appends p as the payload of a compressed message (RFC 7692 §7.2.1): raw DEFLATE, flushed to a byte boundary, the
// final 00 00 ff ff removed. Nothing refers to an earlier message, so the bytes may go to any number of conns (see
// [Params.Fits]). Frame it with RSV1. The result can be longer than p; then send p as it is, and
// so on errors: ErrBusy, or an internal failure.
func (c *Codec) Compress(dst, p []byte) ([]byte, error) {
	return c.compress(dst, p, WindowBitsMax, c.wide)
}

// CompressWindow is Compress for a conn whose server_max_window_bits is bits, 8 to 15: no distance exceeds 1<<bits. Below 15
// the level is the library's 5. A message that fits the window is compressed as Compress does.
func (c *Codec) CompressWindow(dst, p []byte, bits uint8) ([]byte, error) {
	if bits < windowBitsMin || bits > WindowBitsMax {
		return dst, fmt.Errorf("deflate: no window has %d bits; negotiated are 8 to 15", bits)
	}
	if len(p) <= 1<<bits {
		return c.Compress(dst, p)
	}
	return c.compress(dst, p, bits, c.narrow)
}

func (c *Codec) compress(dst, p []byte, bits uint8, free chan *compressor) ([]byte, error) {
	if len(p) == 0 {
		return append(dst, 0), nil // §7.2.3.6
	}
	defer c.used.Add(-1)
	if c.used.Add(1) > c.compressorsMax {
		return dst, ErrBusy
	}
	var z *compressor
	select {
	case z = <-free:
	default:
	}
	if z == nil || z.bits != bits {
		var err error
		if z, err = newCompressor(c.level, bits); err != nil {
			return dst, err
		}
	}
	out, err := z.compress(dst, p)
	if err == nil {
		select {
		case free <- z:
		default:
		}
	}
	return out, err
}

// Decompress appends what the payload p of a compressed message inflates to (§7.2.2); fragments must have been joined.
// ErrTooLarge as soon as it would be more than max bytes, and never more than about 2*max is allocated; ErrCorrupt for
// anything but one whole stream. On an error dst is returned as it came, though its spare capacity may be overwritten. p is
// only read, and must not overlap the spare capacity of dst.
func (c *Codec) Decompress(dst, p []byte, max int) ([]byte, error) {
	var f *inflater
	select {
	case f = <-c.inflaters:
	default:
		f = newInflater()
	}
	out, err := f.inflate(dst, p, max)
	select {
	case c.inflaters <- f:
	default:
	}
	return out, err
}

// Trim drops everything idle and returns how many compressors and inflaters that were: memory goes back after traffic.
func (c *Codec) Trim() (compressors, inflaters int) {
	for {
		select {
		case <-c.wide:
			compressors++
		case <-c.narrow:
			compressors++
		case <-c.inflaters:
			inflaters++
		default:
			return compressors, inflaters
		}
	}
}

// InflaterBytes is what one inflater holds.
const InflaterBytes = int(unsafe.Sizeof(inflater{}))

func newInflater() *inflater {
	f := new(inflater)
	f.init()
	return f
}

// compressor is a flate writer and the slice it appends to.
type compressor struct {
	bits uint8
	w    *flate.Writer
	sink sink
}

type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

func newCompressor(level int, bits uint8) (*compressor, error) {
	z := &compressor{bits: bits}
	var err error
	if bits == WindowBitsMax {
		z.w, err = flate.NewWriter(&z.sink, level)
	} else {
		z.w, err = flate.NewWriterWindow(&z.sink, 1<<bits)
	}
	if err != nil {
		return nil, fmt.Errorf("deflate: no compressor of level %d and window 1<<%d: %w", level, bits, err)
	}
	return z, nil
}

// tail is what §7.2.1 removes: the two lengths of the empty stored block a flush ends with.
const tail = "\x00\x00\xff\xff"

func (z *compressor) compress(dst, p []byte) ([]byte, error) {
	z.sink.b = dst
	z.w.Reset(&z.sink)
	if _, err := z.w.Write(p); err != nil {
		return dst, fmt.Errorf("deflate: compressing %d bytes: %w", len(p), err)
	}
	if err := z.w.Flush(); err != nil {
		return dst, fmt.Errorf("deflate: flushing %d bytes: %w", len(p), err)
	}
	out := z.sink.b
	z.sink.b = nil
	cut := len(out) - len(tail)
	if cut < len(dst) || string(out[cut:]) != tail {
		return dst, fmt.Errorf("deflate: a flushed stream of %d bytes does not end with 00 00 ff ff", len(out)-len(dst))
	}
	return out[:cut], nil
}
