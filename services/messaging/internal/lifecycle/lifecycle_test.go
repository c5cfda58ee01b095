package lifecycle

import (
	"io/fs"
	"strings"
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

const (
	none     = messagingpb.Status_STATUS_UNSPECIFIED
	sent     = messagingpb.Status_SENT
	working  = messagingpb.Status_IN_PROGRESS
	partly   = messagingpb.Status_PARTLY_ANSWERED
	answered = messagingpb.Status_ANSWERED
	asking   = messagingpb.Status_WAITING_FOR_MEMBER
	reopened = messagingpb.Status_REOPENED
	closed   = messagingpb.Status_CLOSED
)

func TestTransitions(t *testing.T) {
	t.Parallel()
	rows := []struct {
		from       Status
		waiting    bool
		claimed    Status
		released   Status // without a reply
		returned   Status // after one
		followed   Status
		heldFollow Status // while an agent holds a claim
		reopenable bool
	}{
		{sent, true, working, sent, sent, sent, sent, false},
		{working, true, working, sent, partly, working, working, false},
		{partly, true, working, partly, partly, partly, partly, false},
		{answered, false, answered, answered, answered, reopened, working, true},
		{asking, false, asking, asking, asking, reopened, working, false},
		{reopened, true, working, reopened, reopened, reopened, reopened, false},
		{closed, false, closed, closed, closed, none, none, true},
	}
	if len(rows) != len(messagingpb.Status_name)-1 {
		t.Fatalf("%d statuses of %d", len(rows), len(messagingpb.Status_name)-1)
	}
	for _, row := range rows {
		free, ok := FollowedUp(row.from, false)
		held, _ := FollowedUp(row.from, true)
		if Waiting(row.from) != row.waiting || Claimed(row.from) != row.claimed || Released(row.from, false) != row.released || Released(row.from, true) != row.returned ||
			free != row.followed || held != row.heldFollow || ok != (row.followed != none) || Reopenable(row.from) != row.reopenable {
			t.Errorf("%s: waiting %t, claimed %s, released %s or %s, followed up %s or %s, reopenable %t", row.from, Waiting(row.from),
				Claimed(row.from), Released(row.from, false), Released(row.from, true), free, held, Reopenable(row.from))
		}
	}
	if Replied(false) != partly || Replied(true) != answered {
		t.Error("a reply answers in part, the final one altogether")
	}
}

// The conditions are those of the partial indexes and triggers, or these would not be used.
func TestSQL(t *testing.T) {
	t.Parallel()
	var schema strings.Builder
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		schema.Write(text)
	}
	for what, sql := range map[string]string{"what waits": WaitingSQL, "steps": StepsSQL} {
		if !strings.Contains(schema.String(), sql) {
			t.Errorf("%s: no index has %s", what, sql)
		}
	}
	if EndedSQL != `status IN (4, 5, 7)` || WaitingSQL != `status IN (1, 2, 3, 6)` {
		t.Errorf("%s, %s", EndedSQL, WaitingSQL)
	}
}

func TestStep(t *testing.T) {
	t.Parallel()
	for action, want := range map[Action]messagingpb.Step_Kind{
		Claim: messagingpb.Step_CLAIMED, Transfer: messagingpb.Step_REDIRECTED, Recategorise: messagingpb.Step_REDIRECTED,
		Close: messagingpb.Step_CLOSED, Reopen: messagingpb.Step_REOPENED,
		Read: 0, Release: 0, Reply: 0, Note: 0, DropEvent: 0, "": 0,
	} {
		if got, ok := Step(action); got != want || ok != (want != 0) {
			t.Errorf("%s: %s, %t", action, got, ok)
		}
	}
}
