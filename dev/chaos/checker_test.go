package chaos

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// innocent is a run in which all is as it should be: three submissions, one of
// them answered by an agent, one never acknowledged though stored.
func innocent() facts {
	now := time.Now()
	f := facts{
		Sent: []*sent{
			{Member: "jeanne", Key: "k1", ID: "c1", Reference: "MSA-1", Answered: now},
			{Member: "marc", Key: "k1", ID: "c2", Reference: "MSA-2", Answered: now},
			{Member: "jeanne", Key: "k3"},
			{Member: "jeanne", Key: "k4"}, // never arrived, never acknowledged
		},
		Replies:   []answered{{"c1", "r1"}},
		ReplyKeys: map[string]string{"r1": "c1"},
		Stored: []stored{
			{"c1", "jeanne", "k1", "MSA-1", 1}, {"c2", "marc", "k1", "MSA-2", 0}, {"c3", "jeanne", "k3", "MSA-3", 0},
		},
		Accepted: []accepted{
			{"EMAIL", "MSA-1"},
			{"EMAIL", "MSA-1"},
			{"SMS", "MSA-1"},
			{"EMAIL", "MSA-2"},
			{"SMS", "MSA-2"},
			{"EMAIL", "MSA-3"},
			{"SMS", "MSA-3"},
		},
		Unsettled: map[string]int{}, Ended: map[string]int{},
	}
	return f
}

// TestCheck changes one fact of an innocent run at a time: each must be noticed,
// as what it is.
func TestCheck(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		change func(*facts)
		want   string // field of the verdict that is 1
	}{
		{"nothing", func(*facts) {}, ""},
		{"an acknowledged submission is gone", func(f *facts) { f.Stored, f.Accepted = f.Stored[1:], f.Accepted[3:]; f.Replies = nil }, "Lost"},
		{"it has another id", func(f *facts) { f.Stored[1].ID = "c9" }, "Lost"},
		{"it has another reference", func(f *facts) { f.Sent[1].Reference = "MSA-9" }, "Lost"},
		{"another member has it", func(f *facts) { f.Stored[1].Member = "paul" }, "Lost"},
		{"an acknowledged reply is gone", func(f *facts) { delete(f.ReplyKeys, "r1") }, "LostReplies"},
		{"it is elsewhere", func(f *facts) { f.ReplyKeys["r1"] = "c2" }, "LostReplies"},
		{"a key has two conversations", func(f *facts) {
			f.Stored = append(f.Stored, stored{"c3", "jeanne", "k3", "MSA-3", 0})
		}, "Twice"},
		{"a mail is missing", func(f *facts) { f.Accepted = append(f.Accepted[:3:3], f.Accepted[4:]...) }, "Missing"},
		{"an SMS is missing", func(f *facts) { f.Accepted = f.Accepted[:6] }, "Missing"},
		{"the mail about a reply is missing", func(f *facts) { f.Accepted = f.Accepted[1:] }, "Missing"},
		{"one of what was never acknowledged is missing", func(f *facts) { f.Accepted = f.Accepted[:6:6] }, "Missing"},
		{"a mail came twice", func(f *facts) { f.Accepted = append(f.Accepted, accepted{"EMAIL", "MSA-2"}) }, "Duplicates"},
		{"an SMS came twice", func(f *facts) { f.Accepted = append(f.Accepted, accepted{"SMS", "MSA-3"}) }, "Duplicates"},
		{"a mail is about nothing", func(f *facts) { f.Accepted = append(f.Accepted, accepted{"EMAIL", "MSA-7"}) }, "Foreign"},
		{"a delivery has not ended", func(f *facts) { f.Unsettled["unknown"] = 1 }, "Unsettled"},
		{"a delivery ended in silence", func(f *facts) { f.Ended["expired NOT_SENT_IN_TIME"] = 1 }, "Silent"},
		{"an event is in the outbox", func(f *facts) { f.Outbox = 1 }, "Outbox"},
		{"a forged report was taken", func(f *facts) { f.ForgedTaken = 1 }, "ForgedTaken"},
		{"a key has two answers", func(f *facts) { f.Confused = 1 }, "Confused"},
	}
	for _, row := range rows {
		f := innocent()
		row.change(&f)
		v := check(f, false)
		if got := len(v.violations()) > 0; got != (row.want != "") {
			t.Errorf("%s: %v", row.name, v.violations())
		}
		if row.want == "" {
			continue
		}
		if n := fmt.Sprint(reflect.ValueOf(v).FieldByName(row.want)); n != "1" {
			t.Errorf("%s: %s is %s in %+v", row.name, row.want, n, v)
		}
	}
}

// Duplicates can be explained by calls in doubt, one each, and only where nobody
// could be asked.
func TestCheckDuplicates(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		doubts, dupes int
		allowed, ok   bool
	}{{0, 0, true, true}, {2, 2, true, true}, {2, 3, true, false}, {2, 1, false, false}, {0, 1, true, false}} {
		f := innocent()
		f.Doubts = row.doubts
		for range row.dupes {
			f.Accepted = append(f.Accepted, accepted{"SMS", "MSA-2"})
		}
		if v := check(f, row.allowed); (len(v.violations()) == 0) != row.ok {
			t.Errorf("%+v: %v", row, v.violations())
		}
	}
}

// An SMS that was given up in doubt may be missing, where nobody could tell.
func TestCheckParked(t *testing.T) {
	t.Parallel()
	f := innocent()
	f.Accepted, f.Parked = f.Accepted[:6], 1
	if broken := check(f, true).violations(); len(broken) > 0 {
		t.Error(broken)
	}
	if broken := check(f, false).violations(); len(broken) == 0 {
		t.Error("it may not be missing where somebody can tell")
	}
}

// The same seed draws the same faults, another seed others, and all kinds come.
func TestDrawFaults(t *testing.T) {
	t.Parallel()
	links := []string{"a", "b"}
	first, again := drawFaults(7, time.Hour, links, kinds, true), drawFaults(7, time.Hour, links, kinds, true)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same seed drew other faults")
	}
	if reflect.DeepEqual(first, drawFaults(8, time.Hour, links, kinds, true)) {
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
	if n := len(drawFaults(7, time.Minute, links, []string{"reports"}, false)); n != 0 {
		t.Errorf("%d faults of reports where there are none", n)
	}
}
