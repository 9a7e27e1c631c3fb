// Package chromium lets tests look at pages in a real browser. It is test support: a test that uses it is skipped where there is none.
package chromium
