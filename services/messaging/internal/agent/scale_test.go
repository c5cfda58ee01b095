package agent

import (
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
			return append(scaleRows(messagingtest.Vault(t, aside), pool, aside), listRows(pool)...)
		},
	}.Test(t)
}

func fill(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation", "message", "audit", "note")(ctx, pool, from, to); err != nil {
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
		pick("Server.readForAgent", working, func(ctx context.Context, id uuid.UUID) error { return failed(s.readForAgent(ctx, all, "claire", id)) }),
		pick("Server.audienceFor", sent, func(ctx context.Context, id uuid.UUID) error { return failed(s.audienceFor(ctx, all, id)) }),
		adding,
		{Of: []string{"Server.replied"}, Run: func(ctx context.Context, _ int) error {
			if _, err := s.replied(ctx, "claire", uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			return nil
		}},
		{Of: []string{"Server.templates"}, Run: func(ctx context.Context, _ int) error { return failed(s.templates(ctx, "msa-75", "queue-1")) }},
		{Of: []string{"Server.saveTemplate"}, Run: func(ctx context.Context, n int) error {
			return failed(s.saveTemplate(ctx, savedTemplate{Caisse: "msa-75", UpdatedBy: "claire", template: template{ID: uuid.New(), Title: fmt.Sprint("titre ", n), Text: "x"}}))
		}},
		{Of: []string{"Server.deleteTemplate"}, Run: func(ctx context.Context, _ int) error { return s.deleteTemplate(ctx, "msa-75", uuid.New()) }},
		{Of: []string{"statistics"}, Planless: 2, Reads: "the conversations of a year", Run: func(ctx context.Context, _ int) error {
			return failed(statistics(ctx, pool, all, "", 366))
		}},
	}
}

// listRows are the lists of agents, first pages and others.
func listRows(pool *pgxpool.Pool) []scale.Row {
	middle := &page.Key{At: time.Now().AddDate(-1, 0, 0)}
	statuses := func(list ...messagingpb.Status) (numbers []int16) {
		for _, status := range list {
			numbers = append(numbers, int16(status))
		}
		return numbers
	}
	rows := []scale.Row{{Of: []string{"list"}, Run: func(ctx context.Context, _ int) error {
		return failed(list(ctx, pool, all, queueFilter{limit: 21}))
	}}}
	for _, f := range []queueFilter{
		{after: middle},
		{theme: "theme-3"},
		{theme: "of-which-none-waits"},
		{queue: "queue-1"},
		{topic: "topic-7"},
		{theme: "theme-3", topic: "topic-3", queue: "queue-2", after: middle},
		{theme: "theme-3", statuses: statuses(answered)},
		{topic: "of-which-there-is-none", statuses: statuses(sent, answered, closed)},
		{statuses: statuses(sent)},
		{statuses: statuses(messagingpb.Status_REOPENED, messagingpb.Status_PARTLY_ANSWERED)},
		{statuses: statuses(answered)},
		{statuses: statuses(messagingpb.Status_WAITING_FOR_MEMBER)},
		{statuses: statuses(answered, closed), after: middle},
		{statuses: statuses(sent, answered)},
	} {
		f.limit = 21
		for _, sc := range []conversation.Scope{all, some} {
			rows = append(rows, scale.Row{Run: func(ctx context.Context, _ int) error { return failed(list(ctx, pool, sc, f)) }})
		}
	}
	return rows
}
