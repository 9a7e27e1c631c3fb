// Package units writes numbers for people: with thousands apart, times and sizes in a fitting unit.
package units
