//go:build !seeded

package seeded

import "time"

// On is false: this is no test build.
func On(Bug) bool { return false }

// Skew is how wrong the process's clock is.
func Skew() time.Duration { return 0 }
