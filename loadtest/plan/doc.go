// Package plan says what a load test does: which connections it holds, and in which phases what is done with them. It is values,
// their defaults, and the rules for them; it knows no clock, no socket and no file. Who carries a plan out is package loadtest.
//
// A plan is read from YAML ([Read]), is one of the presets ([Preset]), or is made of flags by whoever has them. [Plan.WithDefaults]
// fills in what was left out, [Plan.Validate] says what is wrong with the result, and [Plan.YAML] writes it so that Read gives the
// same plan again. Every key of the YAML form is a line of one table (fields.go), by which it is read, written and known.
//
// What is wrong is said as a [Problem]: where, what, and what to write instead. Read gives its line and column.
package plan
