package agent

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

// kept is a conversation as a view sees it.
type kept struct {
	id                                  uuid.UUID
	caisse, queue, theme, topic, reason string
	audience, status                    int16
	created, updated                    time.Time
	waits                               *time.Time
	claimedBy                           string
	held                                bool
}

func (c *kept) since() time.Time {
	if c.waits != nil {
		return *c.waits
	}
	return c.created
}

// draw draws a conversation. Values are few, so that many are equal.
func draw(t *rapid.T, caisse string) kept {
	pick := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }
	code := func(what string, n int) string {
		if i := pick(what, n); i > 0 {
			return fmt.Sprint(what, "-", i)
		}
		return "" // as where a topic is the last choice
	}
	minute := func(what string) time.Time { return time.Date(2026, 1, 1, 8, pick(what, 6), 0, 0, time.UTC) }
	c := kept{
		id: uuid.New(), caisse: caisse, queue: fmt.Sprint("queue-", pick("queue", 3)), theme: fmt.Sprint("theme-", pick("theme", 3)),
		topic: code("topic", 3), reason: code("reason", 3), audience: int16(1 + pick("audience", 3)), status: int16(1 + pick("status", 7)),
		created: minute("created"),
	}
	if pick("elsewhere", 10) == 0 {
		c.caisse += "-other"
	}
	c.updated = c.created
	if rapid.Bool().Draw(t, "touched") {
		c.updated = minute("updated")
	}
	if pick("waits again", 3) == 0 {
		at := minute("waits")
		c.waits = &at
	}
	if c.claimedBy = []string{"", "claire", "sofiane"}[pick("claimed", 3)]; c.claimedBy != "" {
		c.held = rapid.Bool().Draw(t, "held")
	}
	return c
}

// drawView draws what a list is narrowed by.
func drawView(t *rapid.T, caisse string) view {
	some := func(what, value string) string {
		if rapid.IntRange(0, 2).Draw(t, what+"?") > 0 {
			return ""
		}
		return fmt.Sprint(value, rapid.IntRange(0, 3).Draw(t, what))
	}
	v := view{
		scope: conversation.Scope{Caisse: caisse, AllQueues: rapid.Bool().Draw(t, "all queues"), Queues: rapid.SampledFrom([][]string{{"queue-2", "queue-1", "queue-2", "none"}, {"queue-0"}, nil}).Draw(t, "queues")},
		queue: some("queue", "queue-"), theme: some("theme", "theme-"), topic: some("topic", "topic-"), reason: some("reason", "reason-"),
		audience: rapid.SampledFrom([]int16{0, 0, 1, 3}).Draw(t, "audience"),
		statuses: rapid.SampledFrom([][]int16{{1, 2, 3, 6}, {1, 2, 3, 4, 5, 6, 7}, {1}, {6, 1, 6}, {4, 7}}).Draw(t, "statuses"),
		heldBy:   rapid.SampledFrom([]string{"", "", "claire"}).Draw(t, "mine"),
		order:    order{changed: rapid.Bool().Draw(t, "by changes"), newest: rapid.Bool().Draw(t, "newest first")},
		limit:    rapid.IntRange(1, 9).Draw(t, "limit"),
	}
	v.unassigned = v.heldBy == "" && rapid.IntRange(0, 2).Draw(t, "unassigned") == 0
	if v.order.changed && rapid.Bool().Draw(t, "changed since?") {
		at := time.Date(2026, 1, 1, 8, rapid.IntRange(0, 6).Draw(t, "changed since"), 0, 0, time.UTC)
		v.changedSince = &at
	}
	return v
}

// has is what the filters mean.
func (v view) has(c *kept) bool {
	either := func(wanted, value string) bool { return wanted == "" || wanted == value }
	return c.caisse == v.scope.Caisse && (v.scope.AllQueues || slices.Contains(v.scope.Queues, c.queue)) &&
		either(v.queue, c.queue) && either(v.theme, c.theme) && either(v.topic, c.topic) && either(v.reason, c.reason) &&
		(v.audience == 0 || v.audience == c.audience) && slices.Contains(v.statuses, c.status) &&
		(v.heldBy == "" || c.held && c.claimedBy == v.heldBy) && (!v.unassigned || !c.held) &&
		(v.changedSince == nil || !c.updated.Before(*v.changedSince))
}

// of are the ids of what a view has, in its order.
func (v view) of(all []kept) (ids []uuid.UUID) {
	var found []kept
	for _, c := range all {
		if v.has(&c) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b kept) int {
		one, other := a.since(), b.since()
		if v.order.changed {
			one, other = a.updated, b.updated
		}
		sign := 1
		if v.order.newest {
			sign = -1
		}
		return sign * cmp.Or(one.Compare(other), bytes.Compare(a.id[:], b.id[:]))
	})
	for _, c := range found {
		ids = append(ids, c.id)
	}
	return ids
}

const keepSQL = `INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, queue, queue_label, theme, theme_label, topic, reason, audience, status, taxonomy_version,
		created_at, updated_at, waits_since, claimed_by, claimed_name, claim_expires)
	VALUES ($1, 'jeanne', gen_random_uuid(), gen_random_uuid()::text, $2, $3, '', $4, '', $5, $6, $7, $8, 1, $9, $10, $11, nullif($12, ''), nullif($12, ''),
		CASE WHEN $12 <> '' THEN now() + CASE WHEN $13 THEN interval '1 hour' ELSE interval '-1 hour' END END)`

// Whatever a list is narrowed by and however it is ordered, its pages together have what the
// filters leave, each once, in its order.
func TestList_Drawn(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	drawn, listed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		drawn++
		caisse := fmt.Sprint("caisse-", drawn)
		all := make([]kept, rapid.IntRange(0, 60).Draw(rt, "conversations"))
		batch := &pgx.Batch{}
		for i := range all {
			all[i] = draw(rt, caisse)
			c := &all[i]
			batch.Queue(keepSQL, c.id, c.caisse, c.queue, c.theme, c.topic, c.reason, c.audience, c.status, c.created, c.updated, c.waits, c.claimedBy, c.held)
		}
		if err := db.SendBatch(t.Context(), batch).Close(); err != nil {
			rt.Fatal(err)
		}
		for range 8 {
			v := drawView(rt, caisse)
			want := v.of(all)
			var got []uuid.UUID
			for {
				shown, err := list(t.Context(), db, v)
				if err != nil {
					rt.Fatal(err)
				}
				for _, row := range shown {
					got = append(got, row.ID)
				}
				if len(shown) < v.limit || len(got) > len(want) {
					break
				}
				last := &shown[len(shown)-1]
				v.after = &page.Key{At: v.order.at(&last.Row), ID: last.ID}
			}
			if listed += len(got); !slices.Equal(got, want) {
				rt.Fatalf("%+v: %d conversations, want %d:\n%v\n%v", v, len(got), len(want), got, want)
			}
		}
	})
	t.Logf("%d conversations listed", listed)
}

// Defaults depend on what is asked for: what waits, the longest waiting first, or the changes,
// whatever the status.
func TestViewOf(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	waiting, every := []int16{1, 2, 3, 6}, []int16{1, 2, 3, 4, 5, 6, 7}
	sc := conversation.Scope{Caisse: "msa-75", Queues: []string{"sante"}}
	claire := &auth.Identity{Subject: "claire", Caisse: "msa-75", Queues: sc.Queues}
	for name, row := range map[string]struct {
		req  *messagingpb.AgentServiceListConversationsRequest
		want view
	}{
		"nothing":           {&messagingpb.AgentServiceListConversationsRequest{}, view{statuses: waiting}},
		"oldest":            {&messagingpb.AgentServiceListConversationsRequest{OrderBy: "oldest"}, view{statuses: waiting}},
		"newest":            {&messagingpb.AgentServiceListConversationsRequest{OrderBy: "newest"}, view{statuses: waiting, order: order{newest: true}}},
		"changed":           {&messagingpb.AgentServiceListConversationsRequest{OrderBy: "changed"}, view{statuses: every, order: order{changed: true, newest: true}}},
		"changed, a status": {&messagingpb.AgentServiceListConversationsRequest{OrderBy: "changed", Status: []messagingpb.Status{closed}}, view{statuses: []int16{7}, order: order{changed: true, newest: true}}},
		"since":             {&messagingpb.AgentServiceListConversationsRequest{ChangedSince: timestamppb.New(since)}, view{statuses: every, changedSince: &since, order: order{changed: true}}},
		"since, newest":     {&messagingpb.AgentServiceListConversationsRequest{ChangedSince: timestamppb.New(since), OrderBy: "newest"}, view{statuses: every, changedSince: &since, order: order{changed: true, newest: true}}},
		"mine":              {&messagingpb.AgentServiceListConversationsRequest{Mine: true}, view{statuses: every, heldBy: "claire"}},
		"all filters": {
			&messagingpb.AgentServiceListConversationsRequest{Queue: "q", Theme: "t", Topic: "o", Reason: "r", Audience: taxonomypb.Audience_EXPLOITANT, Unassigned: true},
			view{queue: "q", theme: "t", topic: "o", reason: "r", audience: 2, unassigned: true, statuses: waiting},
		},
	} {
		row.want.scope = sc
		if diff := gocmp.Diff(row.want, viewOf(row.req, claire), gocmp.AllowUnexported(view{}, order{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Only what costs little more than the page is read beside what members write.
func TestView_Light(t *testing.T) {
	t.Parallel()
	every, few := []int16{1, 2, 3, 4, 5, 6, 7}, []int16{5}
	for name, row := range map[string]struct {
		view  view
		light bool
	}{
		"all queues":                {view{}, true},
		"one queue":                 {view{queue: "famille"}, true},
		"its second page":           {view{queue: "famille", after: &page.Key{}}, true},
		"its profile":               {view{queue: "famille", audience: 1}, true},
		"its changes":               {view{queue: "famille", statuses: every, order: order{changed: true}}, true},
		"what nobody holds":         {view{unassigned: true}, true},
		"what has ended":            {view{statuses: few}, true},
		"all changes":               {view{statuses: every, order: order{changed: true}}, false},
		"a theme of a queue":        {view{queue: "famille", theme: "logement"}, false},
		"a topic":                   {view{topic: "aide"}, false},
		"a reason":                  {view{reason: "retard"}, false},
		"what one holds of a theme": {view{heldBy: "claire", theme: "logement", statuses: every}, true},
	} {
		row.view.scope.AllQueues = true
		if row.view.light() != row.light {
			t.Errorf("%s: %t", name, !row.light)
		}
	}
	if one := (view{scope: conversation.Scope{Queues: []string{"famille", "famille"}}, statuses: every}); !one.light() {
		t.Error("the agents of one queue read it beside others' lists")
	}
}

// A kind that was marked as unused, or that a change makes, is found at once.
func TestList_KindOfAChange(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	id := messagingtest.Converse(t, db, "jeanne")
	found := func(v view) int {
		v.scope, v.statuses, v.limit = conversation.Scope{Caisse: "msa-75", AllQueues: true}, []int16{1}, 9
		rows, err := list(t.Context(), db, v)
		if err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	change := func(ctx context.Context, sql string) {
		if _, err := db.Exec(ctx, sql, id); err != nil {
			t.Fatal(err)
		}
	}
	change(t.Context(), `UPDATE conversation SET theme = 'retraite', queue = 'retraite' WHERE id = $1`)
	if n := found(view{theme: "retraite"}); n != 1 {
		t.Errorf("%d of the theme that it was given", n)
	}
	if n := found(view{queue: "retraite"}); n != 1 {
		t.Errorf("%d in the queue that it was given", n)
	}
	if n := found(view{theme: "sante"}); n != 0 {
		t.Errorf("%d of the theme that it had", n)
	}
}
