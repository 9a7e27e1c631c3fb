// Package command is the command line: what "shoal serve", "loadtest", "doctor", "token", "version" and
// "help" read, and what they do with it. main.go gives it the process; the settings
// that belong to a whole process (processors, collector limits) are made here, from
// the configuration.
package command
