package session

import (
	"fmt"
	"unsafe"
)

// Tick is the unit of time here: the loop's wheel ticks since its start, the same
// numbers as loop.Tick. 0 in a deadline means none.
type Tick uint32

// State is where a session stands.
type State uint8

// The states; see the package documentation for who leaves which.
const (
	StateIdle State = iota
	StateActive
	StateDormant
	StateUnusable
	StateClosing
	stateCount
)

// String returns the metric label.
func (s State) String() string {
	if s < stateCount {
		return [...]string{"idle", "active", "dormant", "unusable", "closing"}[s]
	}
	return "unknown"
}

// mode is the outcome a session waits for, how it pings, and who renews its credentials.
type mode uint8

const (
	awaitNothing      mode = iota
	awaitAuth              // KindAuthenticated
	awaitConnectSubs       // KindSubscribed, as many as pending says, then the connect reply
	awaitSubscribed        // KindSubscribed of a subscribe command
	awaitPublished         // KindPublished
	awaitRefreshed         // KindRefreshed
	awaitAnswered          // KindAnswered
	awaitSubRefreshed      // KindSubRefreshed
	awaitSent              // KindSent

	awaitMask         mode = 15
	modeNative        mode = 16  // liveness by WebSocket ping frames
	modeServerRefresh mode = 32  // credentials are renewed by the server
	modeRenewing      mode = 64  // KindRenewed is awaited; commands need not wait for it
	modeLate          mode = 128 // the next ping was put off, for publications to go first
)

// Session is one client's protocol state. The zero value is idle and waits for
// KindOpened. It holds no pointer; it belongs to one loop.
type Session struct {
	// Owned by the performer: the session neither reads nor writes them.
	User uint32 // interned id; 0 anonymous
	Info uint32 // interned id of the conn info; 0 none
	Subs uint32 // head of the hub's list of memberships
	Mark uint8  // free for the performer, such as the wire form

	// Owned by Step.
	state    State
	mode     mode  // the awaited outcome and flags
	beats    uint8 // low nibble: pongs missed in a row; high nibble: pongs owed to us
	limitAt  Tick  // idle, unusable: must have connected; active: pong due; dormant: end of observation
	pingAt   Tick  // next ping; 0 none
	expireAt Tick  // credentials and their grace run out; 0 never
	armedAt  Tick  // when the timer will fire; 0 not armed
	activeAt Tick  // last command that was answered
	subCount uint16
	pending  uint16 // outcomes missing in awaitConnectSubs
}

// sessionBytes is the budget's figure (BUDGET.md).
const sessionBytes = 40

var _ = [1]struct{}{}[sessionBytes-unsafe.Sizeof(Session{})]

// State returns the state.
func (s *Session) State() State { return s.state }

// Busy says whether an outcome is awaited; until it is stepped no command may be.
func (s *Session) Busy() bool { return s.await() != awaitNothing }

func (s *Session) await() mode     { return s.mode & awaitMask }
func (s *Session) setAwait(m mode) { s.mode = s.mode&^awaitMask | m }
func (s *Session) has(f mode) bool { return s.mode&f != 0 }
func (s *Session) native() bool    { return s.has(modeNative) }

// SubCount returns the number of memberships, those being made included.
func (s *Session) SubCount() int { return int(s.subCount) }

// Silent is for how long no command has been answered.
func (s *Session) Silent(now Tick) Tick { return now - s.activeAt }

// Missed returns the pongs missed in a row, 0–15.
func (s *Session) Missed() int { return int(s.beats & 0x0f) }

// owed returns the protocol pings whose pong has not come, at most 15.
func (s *Session) owed() int { return int(s.beats >> 4) }

func (s *Session) setBeats(missed, owed int) {
	s.beats = uint8(min(missed, 15)) | uint8(min(owed, 15))<<4
}

// Validate checks what must hold between two steps. cfg is that of the steps.
func (s *Session) Validate(cfg *Config) error {
	next := s.nextDeadline()
	switch {
	case s.state >= stateCount:
		return fmt.Errorf("session: state %d does not exist", s.state)
	case s.state == StateClosing && (next != 0 || s.await() != awaitNothing):
		return fmt.Errorf("session: closing, but deadline %d and outcome %d are waited for", next, s.await())
	case next != 0 && (s.armedAt == 0 || s.armedAt > next):
		return fmt.Errorf("session: deadline %d, but the timer is armed for %d", next, s.armedAt)
	case s.pending != 0 && s.await() != awaitConnectSubs:
		return fmt.Errorf("session: %d subscriptions pending in outcome %d", s.pending, s.await())
	case s.has(modeRenewing) && (!s.has(modeServerRefresh) || s.state == StateUnusable):
		return fmt.Errorf("session: %s, and a renewal nobody asked for is awaited", s.state)
	case s.state == StateUnusable && s.subCount != 0:
		return fmt.Errorf("session: unusable with %d subscriptions", s.subCount)
	case int(s.subCount) > cfg.channelsMax():
		return fmt.Errorf("session: %d subscriptions, limit %d", s.subCount, cfg.channelsMax())
	case s.state == StateDormant && s.limitAt == 0:
		return fmt.Errorf("session: dormant without an end")
	case s.state == StateActive && s.Missed() >= cfg.missesMax():
		return fmt.Errorf("session: active with %d missed pongs, limit %d", s.Missed(), cfg.missesMax())
	}
	return nil
}

// nextDeadline returns the earliest deadline that counts in this state; 0 for none.
func (s *Session) nextDeadline() Tick {
	next := s.expireAt
	earliest := func(t Tick) {
		if t != 0 && (next == 0 || t < next) {
			next = t
		}
	}
	active := s.state == StateActive
	if !active || !s.Busy() { // an active session that is busy misses no pong
		earliest(s.limitAt)
	}
	if active {
		earliest(s.pingAt)
	}
	return next
}
