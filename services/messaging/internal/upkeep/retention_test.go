package upkeep

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// arrive stores a member who has made a choice.
func arrive(t *testing.T, db *pgxpool.Pool, member string) {
	t.Helper()
	if _, err := db.Exec(t.Context(), `INSERT INTO member (id, contact, locale, sms_on_reply) VALUES ($1, '', 'fr', true)`, member); err != nil {
		t.Fatal(err)
	}
}

// members are those of these that there are.
func members(t *testing.T, db *pgxpool.Pool, ids ...string) []string {
	t.Helper()
	found, err := postgres.Many[string](t.Context(), db, "listing members", `SELECT id FROM member WHERE id = ANY($1)`, ids)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Some of these have ended, with all that belongs to them; one waits and one is new.
func TestForget(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	const term = 400 * 24 * time.Hour
	stored := make(map[string]uuid.UUID)
	noted := func(name string) bool {
		return name == "noted lately" || name == "ended" || name == "waits" || name == "answered lately"
	}
	for name, row := range map[string]struct {
		member           string
		status           int
		created, changed string // ago
		note             bool
	}{
		"noted lately":    {"nina", 4, "500 days", "450 days", false},
		"ended":           {"jeanne", 4, "500 days", "450 days", true},
		"closed":          {"jeanne", 7, "500 days", "450 days", false},
		"for the member":  {"paul", 5, "401 days", "401 days", false},
		"paul's other":    {"paul", 4, "10 days", "10 days", false},
		"waits":           {"nina", 1, "500 days", "500 days", true},
		"in hand":         {"nina", 2, "500 days", "450 days", false},
		"answered lately": {"luc", 4, "500 days", "399 days", true},
		"young":           {"luc", 7, "399 days", "399 days", false},
	} {
		var at time.Time
		if err := u.DB.QueryRow(t.Context(), `SELECT now() - $1::interval`, row.created).Scan(&at); err != nil {
			t.Fatal(err)
		}
		id := messagingtest.IDAt(at)
		if err := messagingtest.Insert(t.Context(), u.DB, row.member, id); err != nil {
			t.Fatal(err)
		}
		stored[name] = id
		for _, sql := range []string{
			`UPDATE conversation SET created_at = now() - $2::interval, updated_at = now() - $3::interval, status = $4 WHERE id = $1`,
			`INSERT INTO member (id, contact, locale, updated_at) SELECT member_id, '', 'fr', now() - $2::interval FROM conversation WHERE id = $1 AND $3 <> '' AND $4 > 0 ON CONFLICT DO NOTHING`,
			`INSERT INTO note (id, conversation_id, agent_id, agent_name, idempotency_key, body, body_chars, created_at) SELECT $1, $1, 'claire', 'Claire', $1, '', 1, now() - $3::interval WHERE $2 <> '' AND $4 > 0`,
		} {
			if strings.Contains(sql, "INTO note") && !row.note {
				continue
			}
			if _, err := u.DB.Exec(t.Context(), sql, id, row.created, row.changed, row.status); err != nil {
				t.Fatal(err)
			}
		}
	}
	for action, name := range map[string]string{"read": "ended", "close": "ended", "claim": "young", "reply": "young"} {
		if _, err := u.DB.Exec(t.Context(), `INSERT INTO audit (agent_id, action, conversation_id, at) VALUES ('claire', $1, $2, now() - interval '450 days')`, action, stored[name]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := u.DB.Exec(t.Context(), `INSERT INTO note (id, conversation_id, agent_id, agent_name, idempotency_key, body, body_chars) VALUES ($1, $1, 'claire', 'Claire', $1, '', 1)`, stored["noted lately"]); err != nil {
		t.Fatal(err)
	}
	// What was begun in a conversation goes with it; a draft of a new message does not.
	for _, id := range stored {
		for _, sql := range []string{
			`INSERT INTO draft (member_id, id, key_id, body, conversation_id) SELECT member_id, id, gen_random_uuid(), '', id FROM conversation WHERE id = $1`,
			`INSERT INTO agent_draft (agent_id, conversation_id, body, note) SELECT a, $1, '', '' FROM unnest(ARRAY['claire', 'omar']) AS a`,
		} {
			if _, err := u.DB.Exec(t.Context(), sql, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := u.DB.Exec(t.Context(), `INSERT INTO draft (member_id, id, body) SELECT member_id, gen_random_uuid(), '' FROM conversation WHERE id = $1`, stored["for the member"]); err != nil {
		t.Fatal(err)
	}
	if n, err := u.forgetConversations(t.Context(), 0, term); n != 3 || err != nil {
		t.Errorf("%d, %v, want 3", n, err)
	}
	if n, err := u.forgetConversations(t.Context(), 0, term); n != 0 || err != nil {
		t.Errorf("again: %d, %v, want 0", n, err)
	}
	for name, id := range stored {
		gone := name == "ended" || name == "closed" || name == "for the member"
		for _, table := range []string{"conversation WHERE id", "message WHERE conversation_id", "note WHERE conversation_id", "draft WHERE conversation_id", "agent_draft WHERE conversation_id"} {
			var n int
			if err := u.DB.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` = $1`, id).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if none := !gone && !noted(name) && strings.HasPrefix(table, "note"); n > 0 == (gone || none) {
				t.Errorf("%s: %d of %s", name, n, table)
			}
		}
	}
	var keys, others int
	if err := u.DB.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM unused_key), (SELECT count(*) FROM draft WHERE conversation_id IS NULL)`).Scan(&keys, &others); err != nil || keys != 3 || others != 1 {
		t.Errorf("%d keys of drafts are noted, and %d drafts of new messages are there, %v", keys, others, err)
	}
	// Steps stay with their conversations, and go with them; what else was done has its term.
	for action, want := range map[string]int{"read": 1, "close": 0, "claim": 1, "reply": 1} {
		var n int
		if err := u.DB.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE action = $1`, action).Scan(&n); err != nil || n != want {
			t.Errorf("%d of %q, %v, want %d", n, action, err, want)
		}
	}
	if n, err := u.forgetAudit(t.Context(), term); n != 2 || err != nil {
		t.Errorf("the audit: %d, %v, want 2", n, err)
	}
	// Paul and the others have another conversation, Jeanne has none.
	for member, kept := range map[string]bool{"jeanne": false, "paul": true, "nina": true, "luc": true} {
		if rows := members(t, u.DB, member); len(rows) > 0 != kept {
			t.Errorf("%s: %v", member, rows)
		}
	}
}

// A term of the taxonomy's goes before the setting's, which may be none; a hold keeps what it
// is on, and what waits is kept in any case. Each deletion is counted.
func TestForget_Terms(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	rows := []struct {
		name   string
		years  *int16
		status int
		ago    time.Duration
		held   bool
	}{
		{"six years", nil, 4, 6 * year, false},
		{"four years", nil, 7, 4 * year, false},
		{"of one, two years", new(int16(1)), 5, 2 * year, false},
		{"of one, half a year", new(int16(1)), 4, year / 2, false},
		{"of one, a year by the calendar", new(int16(1)), 4, year, false},
		{"of ten, six years", new(int16(10)), 7, 6 * year, false},
		{"of thirty, forty years", new(int16(30)), 7, 40 * year, false},
		{"of a version to come", new(int16(31)), 7, 50 * year, false},
		{"of one, held", new(int16(1)), 4, 2 * year, true},
		{"held", nil, 4, 6 * year, true},
		{"waits", new(int16(1)), 1, 40 * year, false},
	}
	for name, test := range map[string]struct {
		keep conversation.Retention
		gone []string
	}{
		"without a setting": {0, []string{"of one, two years", "of thirty, forty years"}},
		"five years":        {conversation.Retention(5 * year), []string{"six years", "of one, two years", "of thirty, forty years"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			purged := &counter{}
			u := &Upkeep{DB: messagingtest.Pool(t), Conversations: test.keep, Purged: purged}
			stored := make(map[string]uuid.UUID)
			for _, row := range rows {
				at := time.Now().Add(-row.ago)
				id := messagingtest.IDAt(at)
				if err := messagingtest.Insert(t.Context(), u.DB, "nina", id); err != nil {
					t.Fatal(err)
				}
				if _, err := u.DB.Exec(t.Context(), `UPDATE conversation SET status = $2, updated_at = $3, retention_years = $4, held_at = CASE WHEN $5 THEN now() END WHERE id = $1`,
					id, row.status, at, row.years, row.held); err != nil {
					t.Fatal(err)
				}
				stored[row.name] = id
			}
			for range 2 { // the second time there is nothing left
				for _, term := range u.terms() {
					if !strings.HasPrefix(term.What, "conversations") || term.Keep == 0 {
						continue
					}
					if _, err := term.Step(t.Context(), term.Keep); err != nil {
						t.Fatal(err)
					}
				}
			}
			for name, id := range stored {
				left, err := postgres.Many[uuid.UUID](t.Context(), u.DB, "looking", `SELECT id FROM conversation WHERE id = $1`, id)
				if err != nil {
					t.Fatal(err)
				}
				if want := !slices.Contains(test.gone, name); len(left) > 0 != want {
					t.Errorf("%s: kept %t, want %t", name, len(left) > 0, want)
				}
			}
			if n := int64(len(test.gone)); purged.n.Load() != n {
				t.Errorf("%d are counted, want %d", purged.n.Load(), n)
			}
			var slots int64
			if err := u.DB.QueryRow(t.Context(), `SELECT sum(n) FROM purge_slot WHERE slot > now() - interval '2 hours'`).Scan(&slots); err != nil || slots != int64(len(test.gone)) {
				t.Errorf("%d in the slots, %v", slots, err)
			}
		})
	}
}

// counter is an instrument of which a test reads the value.
type counter struct {
	metric.Int64Counter
	n atomic.Int64
}

func (c *counter) Add(_ context.Context, n int64, _ ...metric.AddOption) { c.n.Add(n) }

// Hours are kept for two days.
func TestForget_CountsOfHours(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	if _, err := u.DB.Exec(t.Context(), `INSERT INTO purge_slot (slot, n) SELECT date_bin('1 hour', now(), timestamptz 'epoch') - interval '1 hour' * ago, 7 FROM unnest(ARRAY[1, 40, 60]) AS ago`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := messagingtest.Insert(t.Context(), u.DB, "nina", uuid.Must(uuid.NewV7())); err != nil {
			t.Fatal(err)
		}
		if _, err := u.DB.Exec(t.Context(), `UPDATE conversation SET status = 7, updated_at = now() - interval '2 years'`); err != nil {
			t.Fatal(err)
		}
		if n, err := u.forgetConversations(t.Context(), 0, LeastConversation); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	var slots, sum int
	if err := u.DB.QueryRow(t.Context(), `SELECT count(*), sum(n) FROM purge_slot`).Scan(&slots, &sum); err != nil || sum != 16 || slots < 3 || slots > 4 {
		t.Errorf("%d slots, %d in all, %v", slots, sum, err) // four if an hour has just ended
	}
}

// Who has confirmed how they are reached today may be writing now.
func TestForget_MemberWhoWrites(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	if err := messagingtest.Insert(t.Context(), u.DB, "jeanne", messagingtest.IDAt(time.Now().AddDate(-2, 0, 0))); err != nil {
		t.Fatal(err)
	}
	if _, err := u.DB.Exec(t.Context(), `UPDATE conversation SET status = 7, updated_at = now() - interval '2 years'`); err != nil {
		t.Fatal(err)
	}
	arrive(t, u.DB, "jeanne")
	if n, err := u.forgetConversations(t.Context(), 0, LeastConversation); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if rows := members(t, u.DB, "jeanne"); len(rows) != 1 {
		t.Errorf("%v", rows)
	}
}

// Who is writing the next message keeps what they chose, though their last conversation goes.
func TestForget_MemberWithADraft(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	for _, member := range []string{"drafts", "left"} {
		if err := messagingtest.Insert(t.Context(), u.DB, member, messagingtest.IDAt(time.Now().AddDate(-2, 0, 0))); err != nil {
			t.Fatal(err)
		}
		arrive(t, u.DB, member)
	}
	for _, sql := range []string{
		`UPDATE conversation SET status = 7, updated_at = now() - interval '2 years'`,
		`UPDATE member SET updated_at = now() - interval '3 days'`,
		`INSERT INTO draft (member_id, id, body) VALUES ('drafts', gen_random_uuid(), '')`,
	} {
		if _, err := u.DB.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := u.forgetConversations(t.Context(), 0, LeastConversation); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if rows := members(t, u.DB, "drafts", "left"); !slices.Equal(rows, []string{"drafts"}) {
		t.Errorf("left: %v", rows)
	}
}

// Members go who have nothing here and were not here for longer, whatever they had chosen.
func TestForget_Members(t *testing.T) {
	t.Parallel()
	u := &Upkeep{DB: messagingtest.Pool(t)}
	for _, member := range []string{"old", "lately", "writes", "drafts"} {
		arrive(t, u.DB, member)
	}
	messagingtest.Converse(t, u.DB, "writes")
	if _, err := u.DB.Exec(t.Context(), `INSERT INTO draft (member_id, id, body) VALUES ('drafts', gen_random_uuid(), '')`); err != nil {
		t.Fatal(err)
	}
	if _, err := u.DB.Exec(t.Context(), `UPDATE member SET updated_at = now() - CASE id WHEN 'lately' THEN interval '365 days' ELSE interval '367 days' END`); err != nil {
		t.Fatal(err)
	}
	if n, err := u.forgetMembers(t.Context(), LeastConversation); n != 1 || err != nil {
		t.Errorf("%d, %v, want 1", n, err)
	}
	if rows := members(t, u.DB, "old", "lately", "writes", "drafts"); slices.Contains(rows, "old") || len(rows) != 3 {
		t.Errorf("left: %v", rows)
	}
}

// Two years pass, ten days at a time, with the same traffic each day. Every table is as
// large as its term says, and nobody who submits meanwhile waits for a lock.
func TestForget_TwoYears(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, migrations.Files)
	u := &Upkeep{DB: messagingtest.Open(t, url)}
	const (
		days, step, daily = 730, 10, 12
		day               = 24 * time.Hour
		conversations     = 366 * day
		audits            = 100 * day
		events            = 200 * day
	)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var group sync.WaitGroup
	defer group.Wait()
	// A submission that waited for a lock would fail.
	impatient, err := postgres.Open(t.Context(), url, func(cfg *pgxpool.Config) { cfg.ConnConfig.RuntimeParams["lock_timeout"] = "250" })
	if err != nil {
		t.Fatal(err)
	}
	defer impatient.Close()
	submitted := 0
	// Days are made and dropped with the log's table locked for a moment (outbox has a test
	// of its own), however long a busy disk makes of it: nobody submits meanwhile here.
	var calendar sync.RWMutex
	submit := func() error {
		calendar.RLock()
		defer calendar.RUnlock()
		return messagingtest.Insert(t.Context(), impatient, "nina", uuid.Must(uuid.NewV7()))
	}
	group.Go(func() {
		for ctx.Err() == nil {
			if err := submit(); err != nil {
				t.Errorf("a submission beside: %v", err)
				return
			}
			submitted++
		}
	})
	turn := func(ago time.Duration, old bool) error {
		calendar.Lock()
		defer calendar.Unlock()
		for back := range step {
			at := time.Now().UTC().Add(-ago).AddDate(0, 0, -back)
			at = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
			if _, err := u.DB.Exec(t.Context(), fmt.Sprintf(`CREATE TABLE IF NOT EXISTS event_log_%s PARTITION OF event_log FOR VALUES FROM ('%s') TO ('%s')`,
				at.Format("20060102"), at.Format(time.RFC3339), at.AddDate(0, 0, 1).Format(time.RFC3339))); err != nil && old {
				return err
			}
		}
		return outbox.New(u.DB).DropDays(t.Context(), time.Now().Add(-ago-events))
	}
	for passed := step; passed <= days; passed += step {
		ago := time.Duration(days-passed) * day
		for _, sql := range []string{
			`INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label, status, created_at, updated_at)
			 SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8' || substr(md5(random()::text), 1, 15))::uuid, 'old:' || n, gen_random_uuid(), 'OLD-' || gen_random_uuid(),
				'msa-75', 1, 1, 'x', 'x', 'x', 'x', 7, at, at FROM generate_series(1, $2::int) n, LATERAL (SELECT now() - $1::interval - interval '10 days' * n / $2::int AS at) AS t`,
			`INSERT INTO audit (agent_id, action, conversation_id, at) SELECT 'claire', 'read', gen_random_uuid(), now() - $1::interval - interval '10 days' * ($2::int - n) / $2::int FROM generate_series(1, $2::int) n`,
		} {
			if _, err := u.DB.Exec(t.Context(), sql, ago, step*daily); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := u.DB.Exec(t.Context(), `INSERT INTO message (id, conversation_id, author, body, body_chars)
			SELECT gen_random_uuid(), id, 1, '', 10 FROM conversation c WHERE NOT EXISTS (SELECT FROM message WHERE conversation_id = c.id)`); err != nil {
			t.Fatal(err)
		}
		if err := turn(ago, passed < days); err != nil {
			t.Fatal(err)
		}
		for _, forget := range []func() (int64, error){
			func() (int64, error) { return u.forgetConversations(t.Context(), 0, conversations+ago) },
			func() (int64, error) { return u.forgetAudit(t.Context(), audits+ago) },
		} {
			for n := int64(postgres.ForgetBatch); n == postgres.ForgetBatch; {
				var err error
				if n, err = forget(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	end()
	group.Wait()
	for what, want := range map[string]int{
		`SELECT count(*) FROM conversation WHERE member_id LIKE 'old:%'`:                                              366 * daily,
		`SELECT count(*) FROM message m JOIN conversation c ON c.id = m.conversation_id WHERE member_id LIKE 'old:%'`: 366 * daily,
		`SELECT count(*) FROM audit`: 100 * daily,
		`SELECT daily * (count(*))::int FROM pg_inherits, (SELECT 12 AS daily) AS d WHERE inhparent = 'event_log'::regclass GROUP BY daily`: 200 * daily,
	} {
		var n int
		if err := u.DB.QueryRow(t.Context(), what).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n < want-2*daily || n > want+2*daily {
			t.Errorf("%d, want %d: %s", n, want, what)
		}
	}
	if submitted < 100 {
		t.Errorf("only %d submissions beside", submitted)
	}
}
