package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

const (
	// readerStays is how long a transaction that has read every table stays open while
	// the schemas change, as that of a dump does.
	readerStays = 15 * time.Second
	// waitsMost is the longest that anybody may wait for a table meanwhile.
	waitsMost = time.Second
	// askEvery is how often that is measured.
	askEvery = 20 * time.Millisecond
)

// filledTables makes so many conversations of the last three years, a fifth of them
// waiting, a third answered, with a delivery each, in the schemas of any version since the
// event log has days. They are nobody's that the load knows.
var filledTables = map[string][]string{
	"messaging": {
		`INSERT INTO member (id, contact, locale) SELECT 'filled:' || n, '\x00', 'fr' FROM generate_series(0, $1::bigint / 20) n ON CONFLICT DO NOTHING`,
		`INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label,
			answer_days, status, last_reply_id, data_key, created_at, updated_at)
		 SELECT gen_random_uuid(), 'filled:' || n % ($1::bigint / 20 + 1), gen_random_uuid(), 'FILLED-' || n, 'filled-' || n % 35, 1, 1, 'theme-' || n % 10, 'Thème', 'queue-' || n % 7, 'File',
			5, CASE WHEN n % 5 = 0 THEN 1 WHEN n % 3 = 0 THEN 5 ELSE 7 END, CASE WHEN n % 5 <> 0 AND n % 3 = 0 THEN gen_random_uuid() END, '\x00', at, at
		 FROM generate_series(1, $1::bigint) n, LATERAL (SELECT now() - interval '3 years' * (1 - n / $1::float8) AS at) AS t`,
		`INSERT INTO message (id, conversation_id, author, agent_id, body, body_chars, created_at)
		 SELECT coalesce(r.id, gen_random_uuid()), c.id, r.author, CASE r.author WHEN 2 THEN 'filled' END, '\x00', 10, c.created_at + r.author * interval '1 hour'
		 FROM conversation c, LATERAL (VALUES (NULL::uuid, 1), (c.last_reply_id, 2)) AS r (id, author) WHERE c.reference LIKE 'FILLED-%' AND (r.author = 1 OR r.id IS NOT NULL)`,
		`ANALYZE`,
	},
	"notifier": {
		`INSERT INTO delivery (event_id, channel, event_type, conversation_id, caisse, state, occurred_at, expires_at, attempt_id, attempts, created_at, updated_at)
		 SELECT gen_random_uuid(), 'EMAIL', 'message-submitted', gen_random_uuid(), 'filled-' || n % 35, CASE WHEN n % 100 = 0 THEN 'refused' ELSE 'accepted' END, at, at, gen_random_uuid(), 1, at, at
		 FROM generate_series(1, $1::bigint) n, LATERAL (SELECT now() - interval '3 years' * (1 - n / ($1::float8 + 1)) - interval '2 days' AS at) AS t`,
		`ANALYZE`,
	},
}

// fill fills the tables of the system that runs.
func (s *stage) fill(ctx context.Context, n int) error {
	begun := time.Now()
	for database, list := range filledTables {
		conn, err := pgx.Connect(ctx, s.fleet.Database.URL(database))
		if err != nil {
			return fmt.Errorf("filling %s: %w", database, err)
		}
		for _, sql := range list {
			var args []any
			if sql != `ANALYZE` && sql[:19] != `INSERT INTO message` {
				args = []any{n}
			}
			if _, err := conn.Exec(ctx, sql, args...); err != nil {
				return errors.Join(fmt.Errorf("filling %s: %w", database, err), conn.Close(ctx))
			}
		}
		if err := conn.Close(ctx); err != nil {
			return fmt.Errorf("filling %s: %w", database, err)
		}
	}
	fmt.Fprintf(s.run.out, "upgrade: %d conversations and deliveries made in %s\n", n, time.Since(begun).Round(time.Second))
	return nil
}

// besideReader does what changes the schemas while a transaction that has read them all
// stays open, and returns the longest that an insert would have waited for a table.
func (s *stage) besideReader(ctx context.Context, change func() error) (worst time.Duration, err error) {
	var group sync.WaitGroup
	defer group.Wait()
	watching, end := context.WithCancel(ctx)
	defer end()
	var mu sync.Mutex
	for database, tables := range map[string]string{"messaging": "conversation, message, member, event_log, outbox", "notifier": "delivery, attempt"} {
		reader, err := pgx.Connect(ctx, s.fleet.Database.URL(database))
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", database, err)
		}
		// A cursor keeps the lock and the snapshot of a statement under way.
		if _, err := reader.Exec(ctx, `BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; DECLARE dump CURSOR FOR SELECT FROM `+tables+`; FETCH 1 FROM dump`); err != nil {
			return 0, errors.Join(fmt.Errorf("reading %s: %w", database, err), reader.Close(ctx))
		}
		group.Go(func() {
			fleet.Sleep(watching, readerStays)
			hangUp(ctx, reader)
		})
		prober, err := pgx.Connect(ctx, s.fleet.Database.URL(database))
		if err != nil {
			return 0, fmt.Errorf("asking %s: %w", database, err)
		}
		group.Go(func() {
			defer hangUp(ctx, prober)
			for fleet.Sleep(watching, askEvery) {
				begun := time.Now()
				// The lock that an insert takes.
				if _, err := prober.Exec(watching, `BEGIN; LOCK TABLE `+tables+` IN ROW EXCLUSIVE MODE; ROLLBACK`); err != nil && watching.Err() == nil {
					fmt.Fprintf(s.run.out, "upgrade: asking %s for its tables: %v\n", database, err)
					return
				}
				mu.Lock()
				worst = max(worst, time.Since(begun))
				mu.Unlock()
			}
		})
	}
	err = change()
	end()
	group.Wait()
	return worst, err
}

// hangUp closes a connection, also when ctx is done, and waits for nobody.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
