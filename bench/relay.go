package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
)

// measureLatency: from just before the insert to a consumer, the broker fsyncing
// before it acknowledges, on both sides. Ours is a whole submission, composed and
// stored in four tables; the references insert the event alone.
func measureLatency(ctx context.Context, r *rig) ([]row, error) {
	ours := r.benchSides(ctx, benchmark{service: "messaging", name: "BenchmarkLatency", count: r.size.latency, who: "messaging, broker", database: true})
	river := one("River, tuned", func() (measurement, error) { return r.delays(ctx, "River, broker", riverOf(100)) })
	water := one("watermill-sql, tuned", func() (measurement, error) { return r.delays(ctx, "watermill-sql, broker", openWatermill) })
	err := r.rounds(ctx, river, ours, water)
	const what50, what99 = "insert to consumer at 500/s, median", "insert to consumer at 500/s, 99th percentile"
	return withOlder(ours, []row{
		{what: what50, figure: p50, goal: 1, atMost: true},
		{what: what99, figure: p99, goal: 3, atMost: true},
		{what: what50, figure: p50, reference: river[0], goal: 0.25, atMost: true},
		{what: what99, figure: p99, reference: river[0]},
		{what: what50, figure: p50, reference: water[0]},
		{what: what99, figure: p99, reference: water[0]},
	}), err
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// measureDrain: a backlog of events.
func measureDrain(ctx context.Context, r *rig) ([]row, error) {
	backlog := r.size.backlog
	ours := r.benchSides(ctx, benchmark{
		service: "messaging", name: "BenchmarkDrain", count: backlog, who: "messaging, broker", database: true, fill: r.fillOutbox,
	})
	reference := func(title, who string, open opener, events int, syncAlways bool) []*side {
		return one(title, func() (measurement, error) { return r.drained(ctx, who, open, events, syncAlways) })
	}
	river := reference("River, 1000 workers", "River, broker", riverOf(1000), backlog, true)
	lazy := reference("River, 1000 workers, broker that does not fsync", "River, broker", riverOf(1000), backlog, false)
	// A fifth of the backlog: it is the slowest, and its rate does not change.
	water := reference("watermill-sql, tuned", "watermill-sql, broker", openWatermill, backlog/5, true)
	err := r.rounds(ctx, river, ours, lazy, water)
	what := fmt.Sprintf("backlog of %d events relayed", backlog)
	return withOlder(ours, []row{
		{what: what, figure: events, reference: river[0], goal: 10},
		{what: what, figure: events, reference: lazy[0], goal: 3},
		{what: what, figure: events, reference: water[0]},
	}), err
}

// fillOutbox is how BenchmarkDrain makes its backlog, which takes PostgreSQL a good
// part of what relaying it does.
func (r *rig) fillOutbox(ctx context.Context, n int) (cpu.Spending, error) {
	url, drop, err := r.schema(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return cpu.Meters{r.postgres()}.Around(func() error {
		_, err := conn.Exec(ctx, `INSERT INTO outbox (id, type, caisse, conversation_id, payload)
			SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 5, 15))::uuid,
				'message-submitted', 'msa-75', gen_random_uuid(), $1 FROM generate_series(1, $2::bigint) n`, payload(), n)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, `VACUUM ANALYZE outbox`)
		return err
	})
}
