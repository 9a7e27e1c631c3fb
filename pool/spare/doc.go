// Package spare keeps values for reuse. What is in a list belongs to nobody, what was
// taken out to the taker; the list knows nothing of either.
package spare
