package messaging

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// fill puts n submissions into the database of a stage, without a process, and
// returns the ids of their events.
func (s *stage) fill(t *testing.T, n int) map[string]bool {
	t.Helper()
	ids := make(map[string]bool, n)
	batch := make([]*submission, n)
	for i := range batch {
		batch[i] = newSubmission("jeanne", uuid.New())
		ids[batch[i].event.id.String()] = true
	}
	if _, err := (&store{s.pool}).insertSubmissions(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return ids
}

// eventIDs are the ids on the stream; one that is there twice fails the test.
func eventIDs(t *testing.T, s *stage) map[string]bool {
	t.Helper()
	ids := make(map[string]bool)
	for _, msg := range s.published(t) {
		id := msg.Header.Get("Nats-Msg-Id")
		if ids[id] || id == "" || msg.Header.Get("ce-id") != id {
			t.Errorf("event %q is on the stream twice, or without its id", id)
		}
		ids[id] = true
	}
	return ids
}

// A backlog that other processes left behind is found without being told of it,
// however many relays there are.
func TestRelay_TwoSideBySide(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	want := s.fill(t, 3*relayBatch+1)
	first := s.start(t)
	s.start(t)
	jeanne := s.member(t, "jeanne")
	var wg sync.WaitGroup
	for _, p := range []*process{first, s.process} {
		wg.Go(func() {
			for range 20 {
				if _, err := p.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := eventIDs(t, s)
	if len(got) != len(want)+40 {
		t.Errorf("%d events on the stream, want %d", len(got), len(want)+40)
	}
	for id := range want {
		if !got[id] {
			t.Errorf("event %s is not on the stream", id)
		}
	}
	if logged := s.count(t, `SELECT count(*) FROM event_log`); logged != len(got) {
		t.Errorf("%d events in the log, %d on the stream", logged, len(got))
	}
}

// The broker drops a second event with the same id, and so would hide it if two
// relays published the same rows. They never have the same rows.
func TestRelay_RowsAreHandedOutOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	want := s.fill(t, 100)
	var mu sync.Mutex
	given := make(map[string]int)
	bothHave := make(chan struct{})
	holders := 0
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			taken, result, err := (&store{s.pool}).relayed(t.Context(), uuid.Nil, 50, func(rows []outboxRow) verdict {
				mu.Lock()
				if holders++; holders == 2 {
					close(bothHave)
				}
				var ids []uuid.UUID
				for _, row := range rows {
					given[row.ID.String()]++
					ids = append(ids, row.ID)
				}
				mu.Unlock()
				<-bothHave // while each holds its rows
				return verdict{acked: ids}
			})
			if taken != 50 || len(result.acked) != 50 || err != nil {
				t.Error(taken, result, err)
			}
		})
	}
	wg.Wait()
	if len(given) != len(want) || slices.Max(slices.Collect(maps.Values(given))) != 1 {
		t.Errorf("%d of %d events were handed out, one %d times", len(given), len(want), slices.Max(slices.Collect(maps.Values(given))))
	}
}

// Only what was acknowledged leaves the outbox.
func TestRelay_KeepsWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.fill(t, 3)
	var first uuid.UUID
	taken, result, err := (&store{s.pool}).relayed(t.Context(), uuid.Nil, 10, func(rows []outboxRow) verdict {
		first = rows[0].ID
		return verdict{acked: []uuid.UUID{first}, fault: errNothingPasses}
	})
	if taken != 3 || len(result.acked) != 1 || err != nil {
		t.Error(taken, result, err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox WHERE id <> $1`, first); n != 2 {
		t.Errorf("%d wait", n)
	}
	if got, err := (&store{s.pool}).outboxState(t.Context(), uuid.Nil); got.Waiting != 2 || got.Oldest <= 0 || got.SetAside != 0 || err != nil {
		t.Error(got, err)
	}
}

func TestBrokerAway(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	s.published(t)
	s.broker.Stop()
	const meanwhile = 10
	var last *messagingpb.Conversation
	for range meanwhile {
		last = jeanne.submit(t)
	}
	s.clerk(t, "claire").reply(t, last.GetId(), true)
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != meanwhile+1 {
		t.Errorf("%d events wait, want %d", n, meanwhile+1)
	}
	// A process that starts without a broker answers too.
	s.stop()
	s.start(t)
	jeanne.submit(t)
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != meanwhile+2 {
		t.Errorf("%d events wait after a restart, want %d", n, meanwhile+2)
	}
	s.broker.Start(t)
	if n := len(eventIDs(t, s)); n != meanwhile+3 {
		t.Errorf("%d events on the stream, want %d", n, meanwhile+3)
	}
}

// A broker that has lost its store gets its stream back, and what comes from then
// on. What it had acknowledged is in the event log.
func TestBrokerWiped(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	s.published(t)
	s.broker.Stop()
	s.broker.Wipe(t)
	s.broker.Start(t)
	jeanne.submit(t)
	if n := len(eventIDs(t, s)); n != 1 {
		t.Errorf("%d events on the new stream", n)
	}
	if n := s.count(t, `SELECT count(*) FROM event_log`); n != 2 {
		t.Errorf("%d events in the log", n)
	}
}

func TestTaxonomyAway(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	old := jeanne.submit(t)
	s.taxonomy.current.Store(2)
	jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
	s.taxonomy.leave()
	check := func() {
		t.Helper()
		for range 3 {
			jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
		}
		for version, reason := range map[int32]string{1: "TAXONOMY_VERSION_OUTDATED", 3: "TAXONOMY_VERSION_UNKNOWN"} {
			req := question()
			req.TaxonomyVersion = version
			_, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
			refused(t, err, codes.InvalidArgument, reason, "taxonomyVersion")
		}
		// The queue of an older version, from what was kept.
		resp, err := s.recipients.BatchGetRecipients(s.machine(t).call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{old.GetId()}})
		if err != nil || len(resp.GetRecipients()) != 1 || resp.GetRecipients()[0].GetQueue().GetPhone() != "0100000001" {
			t.Errorf("%v, %v", resp, err)
		}
	}
	check()
	s.stop()
	s.start(t)
	check()
}

// A service that has never seen a version cannot check anything: it says so to who
// calls it nevertheless, and its health tells others to wait. Once it is SERVING, the
// first call is answered.
func TestTaxonomyNeverSeen(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.taxonomy.leave()
	conn := s.launch(t, grpc.WithDisableHealthCheck())
	jeanne := s.member(t, "jeanne")
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v", got, err)
	}
	_, err = s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question())
	refused(t, err, codes.Unavailable, "TAXONOMY_UNAVAILABLE", "")
	if ids, _ := jeanne.page(t, &messagingpb.ListConversationsRequest{}); len(ids) != 0 {
		t.Error(ids)
	}
	s.taxonomy.serve(t)
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", got, err)
	}
	jeanne.submit(t)
}

// Rows that are deleted stay while somebody holds an older snapshot. A pass does not read
// them, and what was committed late is found all the same.
func TestRelay_BehindAnOldSnapshot(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	db := &store{s.pool}
	const dead = 20_000
	reader := behind(t, db, dead)
	events, err := bus.Connect("test", s.cfg.Bus, stream())
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if err := events.EnsureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	relays := newRelay(db, events, eventspb.DefaultDomain, time.Hour)
	s.fill(t, 1)
	if err := relays.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(madeAt(relays.begin())); relays.wholeAt.IsZero() || age < lateness || age > lateness+time.Minute {
		t.Errorf("a pass begins at %s ago", age)
	}
	s.fill(t, 1)
	pages := func(from uuid.UUID) (n int) {
		t.Helper()
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		if err := s.pool.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT FROM outbox WHERE id >= $1 ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED`, from).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		return plan[0].Plan.Hit + plan[0].Plan.Read
	}
	if near, whole := pages(relays.begin()), pages(uuid.Nil); near > 20 || whole < 10*near {
		t.Errorf("a pass reads %d pages, the whole outbox has %d", near, whole)
	}
	// Committed late, or by a process whose clock is behind.
	late := idAt(time.Now().Add(-5 * time.Minute))
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox SET id = $1`, late); err != nil {
		t.Fatal(err)
	}
	if err := relays.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 1 {
		t.Errorf("%d wait, want the late one", n)
	}
	// The figures begin where the relay does.
	for from, want := range map[uuid.UUID]int64{relays.begin(): 0, uuid.Nil: 1} {
		if got, err := db.outboxState(t.Context(), from); got.Waiting != want || err != nil {
			t.Errorf("%d wait from %s on, %v, want %d", got.Waiting, from, err, want)
		}
		if stale, err := db.outboxStale(t.Context(), from, -time.Hour); stale != (want > 0) || err != nil {
			t.Errorf("stale from %s on: %v, %v", from, stale, err)
		}
	}
	relays.wholeAt = time.Now().Add(-wholeEvery)
	if err := relays.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d wait after everything was looked at", n)
	}
	// With a broker that takes nothing, all that waits counts, however late it came.
	s.fill(t, 1)
	events.Close()
	relays.wholeAt = time.Time{}
	if err := relays.drain(t.Context()); err == nil || relays.begin() != uuid.Nil {
		t.Errorf("without a broker: %v, a pass begins at %s", err, relays.begin())
	}
	if err := reader.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// behind leaves so many deleted rows in the outbox, of the last hour, behind the snapshot
// of the connection that it returns.
func behind(t testing.TB, s *store, dead int) *pgx.Conn {
	t.Helper()
	reader, err := pgx.ConnectConfig(t.Context(), s.pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`SET idle_in_transaction_session_timeout = 0`, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT count(*) FROM outbox`,
	} {
		if _, err := reader.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{
		`INSERT INTO outbox (id, type, caisse, conversation_id, payload)
		 SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000 - 120000 - 3600000.0 * n / $1::int)::bigint), 12, '0') || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid,
			'message-submitted', 'msa-75', gen_random_uuid(), decode(repeat('00', 200), 'hex') FROM generate_series(1, $1::int) n`,
		`DELETE FROM outbox WHERE $1 > 0`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql, dead); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{`VACUUM outbox`, `ANALYZE outbox`} {
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return reader
}
