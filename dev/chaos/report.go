package chaos

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// print writes the table of a run.
func (s *stage) print(v verdict) {
	out := tabwriter.NewWriter(s.run.out, 0, 0, 2, ' ', 0)
	defer func() { _ = out.Flush() }()
	row := func(name string, value any) { fmt.Fprintf(out, "  %s\t%v\n", name, value) }
	fmt.Fprintf(out, "\n%s\n", s.title)
	if s.loaded > 0 {
		row("submissions begun", fmt.Sprintf("%d in %s (%.0f/s)", s.load.begun.Load(), s.loaded.Round(time.Second), float64(s.load.begun.Load())/s.loaded.Seconds()))
	}
	row("submissions acknowledged", v.Acknowledged)
	row("conversations stored", v.Conversations)
	row("replies acknowledged", v.Replied)
	row("lost", v.Lost+v.LostReplies)
	row("notifications accepted", v.Notifications)
	row("notifications missing", v.Missing)
	row("duplicates", v.Duplicates)
	if v.Parked > 0 {
		row("SMS given up in doubt", v.Parked)
	}
	row("calls in doubt (lost answers)", v.Doubts)
	s.nemesis.mu.Lock()
	defer s.nemesis.mu.Unlock()
	row("calls in flight at kills", s.nemesis.inFlight)
	row("about nothing", v.Foreign)
	row("not ended", v.Unsettled)
	row("ended without acceptance", v.Silent)
	row("left in the outbox", v.Outbox)
	row("forged reports taken", v.ForgedTaken)
	row("tries that failed and were made again", s.load.failed.Load())
	if shed := s.load.shed.Load(); shed > 0 {
		row("submissions not begun, too many open", shed)
	}
	for _, kind := range slices.Sorted(maps.Keys(s.nemesis.counts)) {
		row("fault "+kind, s.nemesis.counts[kind])
	}
	for _, kind := range slices.Sorted(maps.Keys(s.nemesis.recovery)) {
		took := slices.Sorted(slices.Values(s.nemesis.recovery[kind]))
		row("recovery, "+kind, fmt.Sprintf("median %s, most %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond)))
	}
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	failures := slices.SortedFunc(maps.Keys(s.load.failures), func(a, b string) int { return s.load.failures[b] - s.load.failures[a] })
	for _, text := range failures[:min(5, len(failures))] {
		row(fmt.Sprintf("failure ×%d", s.load.failures[text]), text)
	}
	for _, text := range v.Examples {
		row("example", text)
	}
}
