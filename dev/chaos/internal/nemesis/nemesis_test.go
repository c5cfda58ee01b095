package nemesis

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// The same seed draws the same faults, another seed others, and all kinds come.
func TestDrawFaults(t *testing.T) {
	t.Parallel()
	links := []string{"a", "b"}
	first, again := Draw(7, time.Hour, links, Kinds, true), Draw(7, time.Hour, links, Kinds, true)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same seed drew other faults")
	}
	if reflect.DeepEqual(first, Draw(8, time.Hour, links, Kinds, true)) {
		t.Error("another seed drew the same faults")
	}
	seen := make(map[string]int)
	for i, f := range first {
		seen[f.Kind+" "+strings.TrimLeft(f.Target, " ")]++
		if i > 0 && (f.At <= first[i-1].At || f.At-first[i-1].At > 7*time.Second) {
			t.Errorf("fault %d at %s after %s", i, f.At, first[i-1].At)
		}
	}
	for _, want := range []string{"kill postgres", "kill notifier-2", "pause broker", "store delete", "store roll back", "store truncate", "reports forge", "provider EMAIL accept-hang", "link a reset_peer", "restart gateway-1", "replay "} {
		if seen[want] == 0 {
			t.Errorf("in an hour, %q was never drawn", want)
		}
	}
	if n := len(Draw(7, time.Minute, links, []string{"reports"}, false)); n != 0 {
		t.Errorf("%d faults of reports where there are none", n)
	}
}
