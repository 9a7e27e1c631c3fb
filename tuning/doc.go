// Package tuning knows what a host must allow for a server of many connections, and says what to change where it does not.
//
// Check and Diagnose are pure: they compare a Host, as read by ReadHost or made up by a test, with what somebody Wants of it.
// «shoal doctor» prints the Report, serve the worst findings at start. The package changes nothing on the host and imports no
// other package of the project; apply.sh, which does change it, is made of the same table, settings.go.
package tuning
