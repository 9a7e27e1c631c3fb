package poll

import (
	"errors"
	"net/netip"
	"time"
)

// Events is a set of readiness hints for one descriptor.
type Events uint8

// The readiness hints. Error covers EPOLLERR and EPOLLHUP and is reported whatever the interest is.
const (
	Readable Events = 1 << iota
	Writable
	Error
)

// Interest is what a descriptor is watched for. Errors are always watched.
type Interest uint8

// The interests. None keeps the descriptor registered for errors alone (a paused or half-closed conn); it may
// yield one spurious Writable when it is set.
const (
	None  Interest = 0
	Read  Interest = 1
	Write Interest = 2
)

// Handler receives what a Poller found. All methods run on the goroutine that called Run.
type Handler interface {
	// PassBegins runs when the poller has come back from waiting, before the other methods, and PassEnds after them, before
	// it waits again.
	PassBegins()
	PassEnds()
	// Ready reports hints for a registered descriptor, possibly stale (see the package comment).
	Ready(fd int, ev Events)
	// Woken runs soon after at least one Wake.
	Woken()
	// Tick runs about once per period set by SetTick; late ticks are merged into one.
	Tick()
	// Alarm runs once for the last SetAlarm, when its time has come.
	Alarm()
	// Again runs at the end of a pass, once for each SetAgain(true), after all descriptors that were ready when the pass
	// began.
	Again()
}

// Poller watches descriptors for one loop. Everything but Wake (any goroutine), Add (any goroutine before Run) and
// Close (after Run returned) belongs to the goroutine inside Run.
type Poller interface {
	// Add registers fd, level-triggered.
	Add(fd int, want Interest) error
	// Mod changes from one interest to another.
	Mod(fd int, want Interest) error
	// Del forgets fd. A closed descriptor is forgotten by the kernel by itself; Del is for one that lives on.
	Del(fd int) error
	// Wake makes Woken be called soon. Any goroutine. Several Wakes may become one Woken.
	Wake() error
	// SetAgain(true) asks for one call of Again: at the end of the present pass or, should more descriptors be ready than one
	// pass serves, after them. Asked for by Again itself, it is for the next pass. SetAgain(false) withdraws a request that
	// was not served yet.
	SetAgain(on bool)
	// SetTick starts (or with 0 stops) calling Tick every period.
	SetTick(period time.Duration) error
	// SetAlarm asks for one call of Alarm after that time, in microseconds rather than ticks, and takes back what was
	// asked for before.
	SetAlarm(after time.Duration) error
	// Run delivers events to h until Stop; after Stop was called only the pass is ended.
	Run(h Handler) error
	// Stop makes Run return after the present callback. Called from inside a callback.
	Stop()
	// Close frees the poller's own descriptors.
	Close() error
	// Now is the present time, with a monotonic reading.
	Now() time.Time
}

// ErrNoSocket says that something is no connected TCP socket, or hides it.
var ErrNoSocket = errors.New("poll: no connected TCP socket: hand over a *net.TCPConn, or what gives out its SyscallConn")

// Options are TCP options that accepted sockets inherit from their listener. Zero fields leave the system's value.
type Options struct {
	KeepAliveIdle     time.Duration // whole seconds; 0 = no keepalive
	KeepAliveInterval time.Duration // whole seconds
	KeepAliveCount    int
	UserTimeout       time.Duration // whole milliseconds; unacknowledged data older than this ends the connection
	ReceiveBytes      int           // SO_RCVBUF
	SendBytes         int           // SO_SNDBUF
	UnsentBytes       int           // TCP_NOTSENT_LOWAT: bytes not yet sent that the kernel takes per socket
	SharePort         bool          // SO_REUSEPORT: several listeners on one port
}

// Sys performs socket calls for one loop. No call blocks: every descriptor it makes is non-blocking and
// close-on-exec. Descriptor numbers are unique among all loops of a group, as in one process, unless it is a [Border]. Listen
// and Adopt, and Close of what they were called for, may be called from any goroutine and are about the process's descriptors then; the
// rest belongs to the loop's goroutine.
type Sys interface {
	// Listen binds a TCP listener to addr ("host:port", "" host = all addresses of both families, port 0 = any).
	// TCP_NODELAY, SO_REUSEADDR and opts are set on it, for accepted sockets to inherit.
	Listen(addr string, backlog int, opts Options) (fd int, bound netip.AddrPort, err error)
	// Accept takes one connection. EAGAIN: none waits; EMFILE/ENFILE: no descriptor left; ECONNABORTED: try again.
	Accept(lfd int) (fd int, err error)
	// Connect starts a connection from local (zero value = any) to remote; EINPROGRESS is no error here: the
	// descriptor becomes writable when the outcome is known.
	Connect(local, remote netip.AddrPort) (fd int, err error)
	// Adopt makes a connected TCP socket that something else opened like an accepted one: non-blocking, close-on-exec,
	// TCP_NODELAY and opts. ErrNoSocket when fd is none or no longer connected.
	Adopt(fd int, opts Options) error
	// ConnectErr is nil when fd is connected, ENOTCONN when it is not (not yet, or no longer) without a pending
	// error, otherwise the pending error, which is thereby cleared.
	ConnectErr(fd int) error
	// Read reads once; 0, nil is end of stream.
	Read(fd int, p []byte) (int, error)
	// Write writes once; it may take a part.
	Write(fd int, p []byte) (int, error)
	// Writev writes the concatenation of iov (at most IovMax pieces) once; it may take a part.
	Writev(fd int, iov [][]byte) (int, error)
	// ShutdownWrite sends the end of stream; reading goes on.
	ShutdownWrite(fd int) error
	// Close gives the descriptor back; its number may be given out again at once.
	Close(fd int) error
	// Reserve opens a descriptor of no use, to be closed when one is needed badly (EMFILE).
	Reserve() (fd int, err error)
	// Peer and Local are the socket's two addresses.
	Peer(fd int) (netip.AddrPort, error)
	Local(fd int) (netip.AddrPort, error)
	// Yield lets other threads of this processor run.
	Yield()
}

// IovMax is the largest number of pieces given to one Writev.
const IovMax = 64
