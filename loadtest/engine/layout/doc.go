// Package layout says which channels there are and who is subscribed to what. Names become numbers here: a [Ref] is a shared channel,
// or a connection's own one. Nothing is kept for a connection.
package layout
