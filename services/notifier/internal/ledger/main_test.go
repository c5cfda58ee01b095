package ledger

import (
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// eventually waits for a condition by looking at it.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !true() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}
