// Package tuning knows what a host must allow for a server of many connections, and says what to change where it does not.
//
// Check is pure: it compares a Host, as read by ReadHost or made up by a test, with what a server Wants. serve prints the
// findings at start. The package changes nothing on the host and imports no other package of the project.
package tuning
