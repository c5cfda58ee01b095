package chaos

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/account"
)

// print writes the table of a run.
func (s *stage) print(v account.Verdict) {
	out := tabwriter.NewWriter(s.run.out, 0, 0, 2, ' ', 0)
	defer func() { _ = out.Flush() }()
	row := func(name string, value any) { fmt.Fprintf(out, "  %s\t%v\n", name, value) }
	fmt.Fprintf(out, "\n%s\n", s.title)
	if s.loaded > 0 {
		row("submissions begun", fmt.Sprintf("%d in %s (%.0f/s)", s.load.Begun.Load(), s.loaded.Round(time.Second), float64(s.load.Begun.Load())/s.loaded.Seconds()))
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
	struck := s.nemesis.Account()
	row("calls in flight at kills", struck.InFlight)
	row("about nothing", v.Foreign)
	row("not ended", v.Unsettled)
	row("ended without acceptance", v.Silent)
	row("left in the outbox", v.Outbox)
	row("forged reports taken", v.ForgedTaken)
	row("tries that failed and were made again", s.load.Failed.Load())
	if shed := s.load.Shed.Load(); shed > 0 {
		row("submissions not begun, too many open", shed)
	}
	for _, kind := range slices.Sorted(maps.Keys(struck.Counts)) {
		row("fault "+kind, struck.Counts[kind])
	}
	struck.Recovery["to finish all after the last fault"] = []time.Duration{s.settled}
	for _, kind := range slices.Sorted(maps.Keys(struck.Recovery)) {
		took := slices.Sorted(slices.Values(struck.Recovery[kind]))
		row("recovery, "+kind, fmt.Sprintf("median %s, most %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond)))
	}
	failures := s.load.Failures()
	reasons := slices.SortedFunc(maps.Keys(failures), func(a, b string) int { return failures[b] - failures[a] })
	for _, text := range reasons[:min(5, len(reasons))] {
		row(fmt.Sprintf("failure ×%d", failures[text]), text)
	}
	for _, text := range v.Examples {
		row("example", text)
	}
}
