// Package pace keeps works of a loop that wait for something outside it, such as a client
// that has to read first, and looks at all of them together now and then.
package pace
