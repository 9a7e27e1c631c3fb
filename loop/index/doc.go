// Package index finds what belongs to a descriptor by its number, with four bytes for each.
package index
