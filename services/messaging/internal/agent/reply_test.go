package agent

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// counter counts what goes to the database: statements, and the round trips they share.
type counter struct {
	mu                sync.Mutex
	statements, trips int
}

func (c *counter) add(statements, trips int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statements, c.trips = c.statements+statements, c.trips+trips
}

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.add(1, 1)
	return ctx
}
func (*counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	c.add(data.Batch.Len(), 1)
	return ctx
}
func (*counter) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// A reply is one transaction of five round trips, once its statements are prepared, and one
// row of the audit: nobody has read the conversation but the agent who answers.
func TestReply_RoundTrips(t *testing.T) {
	t.Parallel()
	db := messagingtest.Pool(t)
	keys := messagingtest.Vault(t, db)
	id := messagingtest.Converse(t, db, "jeanne")
	messagingtest.Seal(t, db, keys, id, "Bonjour à vous")
	counted := &counter{}
	cfg := db.Config()
	cfg.ConnConfig.Tracer = counted
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	group := change.New(pool, keys, func() {}, watch.NewHints(nil), noop.Int64Histogram{})
	goes(t, func(ctx context.Context) error { group.Run(ctx); return nil })
	server := &Server{DB: pool, Vault: keys, Changes: group}
	claire := &auth.Identity{Subject: "agent:claire", Name: "Claire", Caisse: "msa-75", Queues: []string{auth.AllQueues}}
	const agentText = "Votre dossier est complet."
	req, idempotencyKey := &messagingpb.PostReplyRequest{Id: id.String(), Text: agentText}, uuid.New()
	written := text.Text{Body: agentText, Chars: len([]rune(agentText))}
	last, err := postgres.One[uuid.UUID](t.Context(), db, "looking", `SELECT id FROM message`)
	if err != nil {
		t.Fatal(err)
	}
	trips, statements := counted.trips, counted.statements
	_, after, err := server.reply(t.Context(), claire, req, idempotencyKey, last, written)
	if err != nil {
		t.Fatal(err)
	}
	full, err := server.inFull(t.Context(), after, claire)
	if err != nil || len(full.GetMessages()) != 2 || full.GetMessages()[1].GetText() != agentText {
		t.Errorf("%v, %v", full, err)
	}
	// begin; lock, keys, last message; message, conversation; messages, notes, account, audit, events; commit.
	if trips, statements := counted.trips-trips, counted.statements-statements; trips != 5 || statements != 12 {
		t.Errorf("%d round trips with %d statements, want 5 with 12", trips, statements)
	}
	audited := func() string {
		t.Helper()
		actions, err := postgres.One[string](t.Context(), db, "listing", `SELECT string_agg(action, ' ' ORDER BY seq) FROM audit`)
		if err != nil {
			t.Fatal(err)
		}
		return actions
	}
	if got := audited(); got != "claim reply" {
		t.Errorf("the audit has %q", got)
	}
	if n, err := postgres.One[int64](t.Context(), db, "counting", `SELECT count(*) FROM message`); n != 2 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
	// A retry shows the conversation again, which is a reading.
	if _, again, err := server.reply(t.Context(), claire, req, idempotencyKey, last, written); err != nil || len(again.Messages) != 2 || audited() != "claim reply read" {
		t.Errorf("a retry: %d messages, %v, %q", len(again.Messages), err, audited())
	}
}

// goes runs something until the test ends.
func goes(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
