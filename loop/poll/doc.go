// Package poll is the seam between a loop and the kernel: a Poller says which descriptors are ready,
// a Sys does what is then done to them. The real pair stands on gnet's pkg/netpoll and pkg/socket (Linux);
// loop/sim supplies a deterministic pair, and the same loop code runs on both.
//
// Two rules make the seam small:
//
//   - Readiness is level-triggered and only a hint. A descriptor may have been closed and its number given out
//     again between the kernel's answer and the callback, so a Handler acts on what Read, Write and ConnectErr
//     return, never on the event bits alone.
//   - Per-connection calls return bare syscall.Errno values (EAGAIN, ECONNRESET, EPIPE, EMFILE, …), never wrapped,
//     so that they compare with == and cost no allocation.
package poll
