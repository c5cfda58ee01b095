package account

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
)

// innocent is a run in which all is as it should be: three submissions, one of
// them answered by an agent, one never acknowledged though stored.
func innocent() Facts {
	now := time.Now()
	f := Facts{
		Sent: []*load.Sent{
			{Member: "jeanne", Key: "k1", ID: "c1", Reference: "MSA-1", Answered: now},
			{Member: "marc", Key: "k1", ID: "c2", Reference: "MSA-2", Answered: now},
			{Member: "jeanne", Key: "k3"},
			{Member: "jeanne", Key: "k4"}, // never arrived, never acknowledged
		},
		Replies:   []load.Reply{{Conversation: "c1", Key: "r1"}},
		ReplyKeys: map[string]string{"r1": "c1"},
		Stored: []Stored{
			{"c1", "jeanne", "k1", "MSA-1", 1}, {"c2", "marc", "k1", "MSA-2", 0}, {"c3", "jeanne", "k3", "MSA-3", 0},
		},
		Accepted: []Accepted{
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
		change func(*Facts)
		want   string // field of the verdict that is 1
	}{
		{"nothing", func(*Facts) {}, ""},
		{"an acknowledged submission is gone", func(f *Facts) { f.Stored, f.Accepted = f.Stored[1:], f.Accepted[3:]; f.Replies = nil }, "Lost"},
		{"it has another id", func(f *Facts) { f.Stored[1].ID = "c9" }, "Lost"},
		{"it has another reference", func(f *Facts) { f.Sent[1].Reference = "MSA-9" }, "Lost"},
		{"another member has it", func(f *Facts) { f.Stored[1].Member = "paul" }, "Lost"},
		{"an acknowledged reply is gone", func(f *Facts) { delete(f.ReplyKeys, "r1") }, "LostReplies"},
		{"it is elsewhere", func(f *Facts) { f.ReplyKeys["r1"] = "c2" }, "LostReplies"},
		{"a key has two conversations", func(f *Facts) {
			f.Stored = append(f.Stored, Stored{"c3", "jeanne", "k3", "MSA-3", 0})
		}, "Twice"},
		{"a mail is missing", func(f *Facts) { f.Accepted = append(f.Accepted[:3:3], f.Accepted[4:]...) }, "Missing"},
		{"an SMS is missing", func(f *Facts) { f.Accepted = f.Accepted[:6] }, "Missing"},
		{"the mail about a reply is missing", func(f *Facts) { f.Accepted = f.Accepted[1:] }, "Missing"},
		{"one of what was never acknowledged is missing", func(f *Facts) { f.Accepted = f.Accepted[:6:6] }, "Missing"},
		{"a mail came twice", func(f *Facts) { f.Accepted = append(f.Accepted, Accepted{"EMAIL", "MSA-2"}) }, "Duplicates"},
		{"an SMS came twice", func(f *Facts) { f.Accepted = append(f.Accepted, Accepted{"SMS", "MSA-3"}) }, "Duplicates"},
		{"a mail is about nothing", func(f *Facts) { f.Accepted = append(f.Accepted, Accepted{"EMAIL", "MSA-7"}) }, "Foreign"},
		{"a delivery has not ended", func(f *Facts) { f.Unsettled["unknown"] = 1 }, "Unsettled"},
		{"a delivery ended in silence", func(f *Facts) { f.Ended["expired NOT_SENT_IN_TIME"] = 1 }, "Silent"},
		{"an event is in the outbox", func(f *Facts) { f.Outbox = 1 }, "Outbox"},
		{"a forged report was taken", func(f *Facts) { f.ForgedTaken = 1 }, "ForgedTaken"},
		{"a key has two answers", func(f *Facts) { f.Confused = 1 }, "Confused"},
	}
	for _, row := range rows {
		f := innocent()
		row.change(&f)
		v := Check(f, false)
		if got := len(v.Violations()) > 0; got != (row.want != "") {
			t.Errorf("%s: %v", row.name, v.Violations())
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
			f.Accepted = append(f.Accepted, Accepted{"SMS", "MSA-2"})
		}
		if v := Check(f, row.allowed); (len(v.Violations()) == 0) != row.ok {
			t.Errorf("%+v: %v", row, v.Violations())
		}
	}
}

// An SMS that was given up in doubt may be missing, where nobody could tell.
func TestCheckParked(t *testing.T) {
	t.Parallel()
	f := innocent()
	f.Accepted, f.Parked = f.Accepted[:6], 1
	if broken := Check(f, true).Violations(); len(broken) > 0 {
		t.Error(broken)
	}
	if broken := Check(f, false).Violations(); len(broken) == 0 {
		t.Error("it may not be missing where somebody can tell")
	}
}
