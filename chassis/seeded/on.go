//go:build seeded

package seeded

import (
	"fmt"
	"os"
	"slices"
	"time"
)

var active, skew = read()

// read panics on what it does not know: a misspelt bug would pass for one that
// the harness missed.
func read() (Bug, time.Duration) {
	bug := Bug(os.Getenv("MESSAGERIE_SEEDED_BUG"))
	if bug != "" && !slices.Contains(All, bug) {
		panic(fmt.Sprintf("MESSAGERIE_SEEDED_BUG %q is none of %q", bug, All))
	}
	off, err := time.ParseDuration(os.Getenv("MESSAGERIE_CLOCK_SKEW"))
	if os.Getenv("MESSAGERIE_CLOCK_SKEW") != "" && err != nil {
		panic(fmt.Sprintf("MESSAGERIE_CLOCK_SKEW: %v", err))
	}
	return bug, off
}

// On tells whether a bug was switched on.
func On(bug Bug) bool { return bug == active }

// Skew is how wrong the process's clock is.
func Skew() time.Duration { return skew }
