// Package narrow gives some of a loop's connections small receive buffers, so that what is sent to them while they do not read piles up
// at the server and not in this kernel. A [Sys] stands between one loop and the kernel, and belongs to the loop's goroutine.
package narrow
