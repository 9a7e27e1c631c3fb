// Package buffer lends byte buffers: memory that a connection has only while it
// needs it, for a frame or a request that arrived in part.
//
// A [Pool] keeps buffers in classes that double in size. Each class has two
// levels: a stack, bounded in bytes over all classes, for the buffers that come
// and go every turn; and behind it a bytebufferpool.Pool, whose content the
// collector frees at its next two cycles. So what a pool holds on to is bounded
// by Config.RetainedBytesMax however big a burst was, and a burst that repeats
// within a collector cycle still finds its buffers.
//
// A [Table] numbers the buffers a loop has borrowed, because slots hold no
// pointers.
package buffer
