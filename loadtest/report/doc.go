// Package report is what a load test found out: values with a stable JSON form, whether they are what was promised ([Report.Judge]) and
// what was expected ([Report.Expect]), and a table for people ([Report.WriteTable]). Package loadtest fills them in, package page draws
// them. It knows no clock, no socket and no driver.
package report
