// Package page makes a page (HTML) of the report of a load test, or of several beside each other. It is one file that needs no network:
// tables and drawings are there without JavaScript, which only adds what is under the pointer. Values only: reports in, bytes out. A part
// of which a report has nothing is left out.
package page
