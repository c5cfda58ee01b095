package account

import (
	"fmt"
	"slices"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
)

// Facts are the four accounts of a run.
type Facts struct {
	// Sent are submissions and Replies those of agents, as clients saw them.
	Sent    []*load.Sent
	Replies []load.Reply
	// Stored are the conversations in PostgreSQL.
	Stored []Stored
	// ReplyKeys are the keys of the replies in PostgreSQL, with theirs.
	ReplyKeys map[string]string
	// Accepted is what the providers took.
	Accepted []Accepted
	// Unsettled counts the ledger's deliveries that have not ended, by state, and
	// Ended those that ended without being accepted, by state and reason.
	Unsettled, Ended map[string]int
	// Outbox is how many events the broker has not acknowledged.
	Outbox int
	// Parked is how many SMS were in doubt twice and are left alone.
	Parked int
	// Doubts is how many calls ended without the notifier knowing how.
	Doubts int
	// ForgedTaken is how many forged reports were answered as genuine ones.
	ForgedTaken int64
	// Confused is how many keys were given two different answers.
	Confused int
}

// Stored is a conversation in PostgreSQL.
type Stored struct {
	ID, Member, Key, Reference string
	Replies                    int
}

// Accepted is a mail or SMS that a provider took.
type Accepted struct{ Channel, Reference string }

// Verdict is what the facts amount to.
type Verdict struct {
	Acknowledged, Replied, Conversations, Notifications int
	// Each of these is a violation, but for duplicates within what is allowed.
	Lost, LostReplies, Twice, Missing, Foreign, Unsettled, Outbox, Confused int
	// Silent are deliveries that ended without being accepted although every
	// member can be reached.
	Silent      int
	ForgedTaken int64
	Duplicates  int
	Doubts      int
	// Parked are SMS that were given up in doubt, and may be missing.
	Parked int
	// Allowed is how many duplicates are no violation.
	Allowed int
	// Examples are some of the violations, for whoever looks for the cause.
	Examples []string
}

// Check compares the accounts. Where nobody reports and nobody can be asked (blind),
// and nowhere else, there may be a duplicate for each call in doubt, and an SMS that
// was in doubt twice may be missing.
func Check(f Facts, blind bool) Verdict {
	v := Verdict{
		Conversations: len(f.Stored), Notifications: len(f.Accepted), Outbox: f.Outbox, Doubts: f.Doubts,
		ForgedTaken: f.ForgedTaken, Confused: f.Confused,
	}
	example := func(format string, args ...any) {
		if len(v.Examples) < 10 {
			v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
		}
	}
	byKey := make(map[[2]string]Stored, len(f.Stored))
	wanted := make(map[Accepted]int, 2*len(f.Stored))
	for _, c := range f.Stored {
		key := [2]string{c.Member, c.Key}
		if _, again := byKey[key]; again {
			v.Twice++
			example("key %s has two conversations", c.Key)
		}
		byKey[key] = c
		wanted[Accepted{"EMAIL", c.Reference}] = 1 + c.Replies
		wanted[Accepted{"SMS", c.Reference}] = 1
	}
	for _, s := range f.Sent {
		if s.Answered.IsZero() {
			continue
		}
		v.Acknowledged++
		if c, ok := byKey[[2]string{s.Member, s.Key}]; !ok || c.ID != s.ID || c.Reference != s.Reference {
			v.Lost++
			example("%s was answered with success at %s and is not stored", s.Reference, s.Answered.Format("15:04:05.000"))
			// What was promised to the member is owed all the same.
			wanted[Accepted{"EMAIL", s.Reference}] = max(1, wanted[Accepted{"EMAIL", s.Reference}])
			wanted[Accepted{"SMS", s.Reference}] = 1
		}
	}
	for _, r := range f.Replies {
		v.Replied++
		if f.ReplyKeys[r.Key] != r.Conversation {
			v.LostReplies++
			example("reply %s was answered with success and is not stored", r.Key)
		}
	}
	got := make(map[Accepted]int, len(wanted))
	for _, a := range f.Accepted {
		got[a]++
	}
	for what, n := range got {
		if wanted[what] == 0 {
			v.Foreign += n
			example("%s about %s: nobody asked for it", what.Channel, what.Reference)
		}
	}
	for what, n := range wanted {
		switch {
		case got[what] < n:
			v.Missing += n - got[what]
			example("%s about %s: %d accepted, %d wanted", what.Channel, what.Reference, got[what], n)
		case got[what] > n:
			v.Duplicates += got[what] - n
			example("%s about %s: %d accepted, %d wanted", what.Channel, what.Reference, got[what], n)
		}
	}
	for _, n := range f.Unsettled {
		v.Unsettled += n
	}
	for _, n := range f.Ended {
		v.Silent += n
	}
	if blind {
		v.Allowed, v.Parked = f.Doubts, f.Parked
	}
	slices.Sort(v.Examples)
	return v
}

// Violations names what was broken.
func (v Verdict) Violations() (list []string) {
	name := func(broken bool, format string, args ...any) {
		if broken {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	name(v.Lost > 0, "%d acknowledged submissions lost", v.Lost)
	name(v.LostReplies > 0, "%d acknowledged replies lost", v.LostReplies)
	name(v.Twice > 0, "%d keys with two conversations", v.Twice)
	name(v.Confused > 0, "%d keys with two answers", v.Confused)
	name(v.Missing > v.Parked, "%d notifications missing, %d given up in doubt", v.Missing, v.Parked)
	name(v.Foreign > 0, "%d notifications about nothing", v.Foreign)
	name(v.Duplicates > v.Allowed, "%d duplicates, %d can be explained", v.Duplicates, v.Allowed)
	name(v.Unsettled > 0, "%d deliveries have not ended", v.Unsettled)
	name(v.Silent > 0, "%d deliveries ended without being accepted", v.Silent)
	name(v.Outbox > 0, "%d events left in the outbox", v.Outbox)
	name(v.ForgedTaken > 0, "%d forged reports taken", v.ForgedTaken)
	return list
}
