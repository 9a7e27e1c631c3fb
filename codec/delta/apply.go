package delta

// Failure says why a delta could not be applied. Values are comparable constants.
type Failure uint8

const (
	ErrSyntax   Failure = iota + 1 // not a delta, or one that ends too early
	ErrSize                        // the target would be larger than allowed, or than the delta says itself
	ErrSource                      // it copies what the source does not have: made for another source
	ErrChecksum                    // the result is not the target the delta was made from
)

// Error says what happened and what to do.
func (f Failure) Error() string {
	switch f {
	case ErrSyntax:
		return "malformed delta: it must come from a Fossil delta encoder, whole"
	case ErrSize:
		return "the delta makes more bytes than allowed or announced: raise the limit or publish less"
	case ErrSource:
		return "the delta copies bytes the source does not have: apply it to the publication before it"
	case ErrChecksum:
		return "the delta gives a wrong checksum: apply it to the publication before it"
	}
	return "no failure"
}

// Apply appends to dst what delta makes of source. sizeMax bounds it in bytes; 0 is no bound but 2 GiB. On an error,
// always a Failure, dst is returned with its content unchanged. dst must not overlap source.
func Apply(dst, source, delta []byte, sizeMax int) ([]byte, error) {
	if sizeMax <= 0 {
		sizeMax = 1 << 31
	}
	r := reader{rest: delta}
	size := uint64(r.number())
	r.expect('\n')
	if r.fail == 0 && size > uint64(sizeMax) {
		return dst, ErrSize
	}
	out := dst
	for r.fail == 0 {
		n := r.number()
		have := uint64(len(out) - len(dst))
		switch op := r.byte(); {
		case r.fail != 0:
		case op == ';':
			return finish(dst, out, size, n, r.rest)
		case op != '@' && op != ':':
			r.fail = ErrSyntax
		case have+uint64(n) > size:
			r.fail = ErrSize
		case op == ':':
			out = append(out, r.take(n)...)
		default:
			from := uint64(r.number())
			r.expect(',')
			if r.fail == 0 && from+uint64(n) > uint64(len(source)) {
				r.fail = ErrSource
			}
			if r.fail == 0 {
				out = append(out, source[from:from+uint64(n)]...)
			}
		}
	}
	return dst, r.fail
}

func finish(dst, out []byte, size uint64, sum uint32, rest []byte) ([]byte, error) {
	made := out[len(dst):]
	switch {
	case len(rest) > 0:
		return dst, ErrSyntax
	case uint64(len(made)) != size:
		return dst, ErrSize
	case checksum(made) != sum:
		return dst, ErrChecksum
	}
	return out, nil
}

// reader takes a delta apart; the first failure sticks.
type reader struct {
	rest []byte
	fail Failure
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		if r.fail == 0 {
			r.fail = ErrSyntax
		}
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

func (r *reader) expect(c byte) {
	if r.byte() != c && r.fail == 0 {
		r.fail = ErrSyntax
	}
}

// take returns the next n bytes; n is compared before anything is cut by it.
func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.rest)) {
		r.fail = ErrSyntax
		return nil
	}
	p := r.rest[:n]
	r.rest = r.rest[n:]
	return p
}

// number reads one digit or more; what does not fit 32 bits fails.
func (r *reader) number() uint32 {
	n, i := uint64(0), 0
	for ; i < len(r.rest); i++ {
		d := digitValue(r.rest[i])
		if d < 0 {
			break
		}
		if n = n<<6 | uint64(d); n > 1<<32-1 {
			r.fail = ErrSyntax
			return 0
		}
	}
	if i == 0 && r.fail == 0 {
		r.fail = ErrSyntax
	}
	r.rest = r.rest[i:]
	return uint32(n)
}

func digitValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 10
	case c == '_':
		return 36
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 37
	case c == '~':
		return 63
	}
	return -1
}
