// Package track follows the streams of one loop's channels. All positioned members of
// a channel on a loop get the same publications in the same turns, so they are all at
// the same place: one record for a channel says where, whatever the number of its
// members, and finds out when a publication is missing.
package track
