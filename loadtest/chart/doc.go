// Package chart makes the curves of server/docs/pressure: a table (CSV) of each from the reports of loadtest/curves.sh, and its
// drawing (SVG) from the table. Values only: it reads what it is given and returns bytes. «make bench-curves» measures and draws.
package chart
