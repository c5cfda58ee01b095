package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Fill: fill,
		Rows: func(pool, aside *pgxpool.Pool) []scale.Row {
			return append(append(scaleRows(messagingtest.Vault(t, aside), pool, aside), listRows(pool)...), auditRows(pool, aside)...)
		},
	}.Test(t)
}

func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation", "message", "audit", "note")(ctx, pool, from, to); err != nil {
		return err
	}
	// Two accounts have one number.
	if _, err := pool.Exec(ctx, `UPDATE member SET number_hash = sha256(convert_to((substring(id FROM '[0-9]+')::bigint / 2)::text, 'UTF8')) WHERE number_hash IS NULL`); err != nil {
		return err
	}
	return messagingtest.Count(ctx, pool, waiting.Backfill, waiting.CountSQL)
}

var (
	all  = conversation.Scope{Caisse: "msa-75", AllQueues: true}
	some = conversation.Scope{Caisse: "msa-75", Queues: []string{"queue-1", "queue-3"}}
)

const sent, working, answered, closed = messagingpb.Status_SENT, messagingpb.Status_IN_PROGRESS, messagingpb.Status_ANSWERED, messagingpb.Status_CLOSED

func failed(_ any, err error) error { return err }

func scaleRows(keys *vault.Vault, pool, aside *pgxpool.Pool) []scale.Row {
	s := &Server{DB: pool, Vault: keys}
	claire := &auth.Identity{Subject: "claire", Name: "Claire", Caisse: "msa-75", Queues: []string{auth.AllQueues}}
	// pick reads of a conversation in a status, another each time.
	pick := func(of string, status messagingpb.Status, do func(ctx context.Context, id uuid.UUID) error) scale.Row {
		return scale.Row{Of: []string{of}, Run: func(ctx context.Context, n int) error {
			row, err := messagingtest.Pick(ctx, aside, int(status), n)
			if err != nil {
				return err
			}
			return do(ctx, row.ID)
		}}
	}
	finding := func(action lifecycle.Action, after *page.Key, of ...string) scale.Row {
		return scale.Row{Of: of, Run: func(ctx context.Context, n int) error {
			by, err := searchFor(ctx, aside, action, n)
			if err != nil {
				return err
			}
			return failed(s.find(ctx, claire, by, after, 21))
		}}
	}
	adding := pick("Server.addNote", sent, func(ctx context.Context, id uuid.UUID) error {
		member, err := postgres.One[string](ctx, aside, "reading a member", `SELECT member_id FROM conversation WHERE id = $1`, id)
		if err != nil {
			return err
		}
		key, err := keys.Of(ctx, member)
		if err != nil {
			return err
		}
		if _, err := aside.Exec(ctx, `UPDATE conversation SET key_id = $2 WHERE id = $1`, id, key.ID); err != nil {
			return err
		}
		_, _, err = s.addNote(ctx, claire, id, uuid.New(), text.Text{Body: "x", Chars: 1})
		return err
	})
	adding.Of = append(adding.Of, "sameNote")
	adding.Planless = 1 // for a note that is there
	return []scale.Row{
		pick("Server.readForAgent", working, func(ctx context.Context, id uuid.UUID) error { return failed(s.readForAgent(ctx, claire, id)) }),
		finding(lifecycle.FindByReference, nil, "visible"),
		finding(lifecycle.FindByNumber, nil, "queueOfMembers"),
		finding(lifecycle.FindByNumber, &page.Key{At: time.Now().AddDate(-1, 0, 0)}),
		finding(lifecycle.FindOfMember, nil),
		pick("Server.audienceFor", sent, func(ctx context.Context, id uuid.UUID) error { return failed(s.audienceFor(ctx, all, id)) }),
		adding,
		{Of: []string{"Server.replied"}, Run: func(ctx context.Context, _ int) error {
			if _, err := s.replied(ctx, "claire", uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			return nil
		}},
		{Of: []string{"Server.noteColleague"}, Run: func(ctx context.Context, n int) error {
			return s.noteColleague(ctx, &colleague{ID: fmt.Sprintf("agent:conseiller-%d", n), Caisse: "msa-75", Name: "Conseillère", Queues: []string{"queue-1"}})
		}},
		{Of: []string{"Server.colleagueOf"}, Run: func(ctx context.Context, _ int) error {
			if _, err := s.colleagueOf(ctx, "msa-75", "agent:nobody"); !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			return nil
		}},
		{Of: []string{"Server.colleaguesOf"}, Run: func(ctx context.Context, _ int) error { return failed(s.colleaguesOf(ctx, "msa-75")) }},
		{Of: []string{"ForgetColleagues"}, Run: func(ctx context.Context, _ int) error {
			return failed(ForgetColleagues(ctx, pool, ColleagueLife))
		}},
		pick("Server.notesBy", sent, func(ctx context.Context, id uuid.UUID) error { return failed(s.notesBy(ctx, id, "claire")) }),
		pick("Server.readOwn", answered, func(ctx context.Context, id uuid.UUID) error {
			return failed(s.readOwn(ctx, claire, &conversation.Message{ID: uuid.New(), ConversationID: id}))
		}),
	}
}

// searchFor looks for what somebody quotes of a conversation, another each time.
func searchFor(ctx context.Context, db postgres.Querier, action lifecycle.Action, n int) (by search, err error) {
	picked, err := messagingtest.Pick(ctx, db, int(working), n)
	if err != nil {
		return by, err
	}
	by = search{action: action, conversation: picked.ID}
	by.reference, err = postgres.One[string](ctx, db, "picking", `SELECT reference FROM conversation WHERE id = $1`, picked.ID)
	if err == nil {
		by.hash, err = postgres.One[[]byte](ctx, db, "picking", `SELECT number_hash FROM member WHERE id = $1`, picked.MemberID)
	}
	return by, err
}

// listRows are the lists of agents: each filter, each two of them, each order, first pages and
// others.
func listRows(pool *pgxpool.Pool) []scale.Row {
	middle := &page.Key{At: time.Now().AddDate(-1, 0, 0)}
	lastYear := middle.At
	statuses := func(list ...messagingpb.Status) (numbers []int16) {
		for _, status := range list {
			numbers = append(numbers, int16(status))
		}
		return numbers
	}
	with := func(narrow ...func(*view)) view {
		v := view{statuses: statuses(lifecycle.WaitingStatuses...), limit: 21}
		for _, narrow := range narrow {
			narrow(&v)
		}
		return v
	}
	filters := []func(*view){
		func(v *view) { v.queue = "queue-1" },
		func(v *view) { v.theme = "theme-3" },
		func(v *view) { v.topic = "topic-13" },
		func(v *view) { v.reason = "reason-43" },
		func(v *view) { v.reason = "of-which-there-is-none" },
		func(v *view) { v.audience = 2 },
		func(v *view) { v.unassigned = true },
		func(v *view) { v.heldBy = "claire" },
		func(v *view) {
			v.statuses = statuses(messagingpb.Status_WAITING_FOR_MEMBER, messagingpb.Status_REOPENED)
		},
		func(v *view) { v.statuses = statuses(lifecycle.Statuses...) },
		func(v *view) { v.order.newest = true },
		func(v *view) { v.order.changed = true },
		func(v *view) {
			v.order.changed, v.changedSince, v.statuses = true, &lastYear, statuses(lifecycle.Statuses...)
		},
		func(v *view) { v.after = middle },
	}
	views := []view{with()}
	for i, one := range filters {
		views = append(views, with(one))
		for _, other := range filters[i+1:] {
			views = append(views, with(one, other))
		}
	}
	rows := []scale.Row{{Of: []string{"list"}, Run: func(ctx context.Context, _ int) error {
		v := with()
		v.scope = all
		return failed(list(ctx, pool, v))
	}}}
	for _, v := range views {
		for _, sc := range []conversation.Scope{all, some} {
			v.scope = sc
			var reads string
			if v.theme != "" || v.topic != "" || v.reason != "" {
				reads = "as many runs as there are kinds, of which small tables have few"
			}
			rows = append(rows, scale.Row{Reads: reads, Run: func(ctx context.Context, _ int) error { return failed(list(ctx, pool, v)) }})
		}
	}
	return rows
}

// auditRows are the lists of the audit.
func auditRows(pool, aside *pgxpool.Pool) []scale.Row {
	begun, middle := time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
	var rows []scale.Row
	of := []string{"auditEntries"}
	for _, f := range []auditFilter{
		{},
		{agent: "claire"},
		{agent: "nobody"},
		{before: &page.Key{At: middle, ID: placeOf(7)}},
		{since: &begun, until: &middle},
		{agent: "claire", since: &begun, until: &middle, before: &page.Key{At: middle, ID: placeOf(7)}},
		{since: &middle, caisse: "msa-nowhere"},
	} {
		f.caisse, f.limit = cmp.Or(f.caisse, "msa-75"), 21
		rows = append(rows, scale.Row{Of: of, Run: func(ctx context.Context, _ int) error { return failed(auditEntries(ctx, pool, f)) }})
		of = nil
	}
	for _, caisse := range []string{"msa-75", "msa-35"} {
		for _, agent := range []string{"", "claire"} {
			rows = append(rows, scale.Row{Run: func(ctx context.Context, n int) error {
				row, err := messagingtest.Pick(ctx, aside, int(answered), n)
				if err != nil {
					return err
				}
				return failed(auditEntries(ctx, pool, auditFilter{caisse: caisse, agent: agent, conversation: &row.ID, since: &begun, limit: 21}))
			}})
		}
	}
	return rows
}
