package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// backlog is how many events a drained outbox holds.
	backlog = 50_000
	// latencyEvents at 500 a second take six seconds.
	latencyEvents = 3000
)

// measureLatency: from just before the insert to a consumer, the broker fsyncing
// before it acknowledges, on both sides. Ours is a whole submission, composed and
// stored in four tables; the references insert the event alone.
func measureLatency(ctx context.Context, r *rig) ([]row, error) {
	var ours50, ours99, river50, river99, water50, water99 sample
	reference := func(p99 *sample, open opener) func() (float64, error) {
		return func() (float64, error) {
			times, err := r.delays(ctx, open, latencyEvents)
			if err != nil {
				return 0, err
			}
			*p99 = append(*p99, milliseconds(times[len(times)*99/100]))
			return milliseconds(times[len(times)/2]), nil
		}
	}
	err := r.rounds(ctx,
		side{&river50, reference(&river99, riverOf(100))},
		side{&ours50, func() (float64, error) {
			got, err := r.goBench(ctx, "messaging", "BenchmarkLatency", fmt.Sprint(latencyEvents, "x"))
			ours99 = append(ours99, got["p99-ms"])
			return got["p50-ms"], err
		}},
		side{&water50, reference(&water99, openWatermill)},
	)
	const what50, what99 = "insert to consumer at 500/s, median", "insert to consumer at 500/s, 99th percentile"
	return []row{
		{what: what50, unit: "ms", ours: ours50, goal: 1, atMost: true},
		{what: what99, unit: "ms", ours: ours99, goal: 3, atMost: true},
		{what: what50, unit: "ms", ours: ours50, against: "River, tuned", reference: river50, goal: 0.25, atMost: true},
		{what: what99, unit: "ms", ours: ours99, against: "River, tuned", reference: river99},
		{what: what50, unit: "ms", ours: ours50, against: "watermill-sql, tuned", reference: water50},
		{what: what99, unit: "ms", ours: ours99, against: "watermill-sql, tuned", reference: water99},
	}, err
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// measureDrain: a backlog of 50 000 events.
func measureDrain(ctx context.Context, r *rig) ([]row, error) {
	var ours, river, lazy, water sample
	reference := func(open opener, events int, syncAlways bool) func() (float64, error) {
		return func() (float64, error) { return r.drained(ctx, open, events, syncAlways) }
	}
	err := r.rounds(ctx,
		side{&river, reference(riverOf(1000), backlog, true)},
		side{&ours, func() (float64, error) {
			got, err := r.goBench(ctx, "messaging", "BenchmarkDrain", fmt.Sprint(backlog, "x"))
			return got["events/s"], err
		}},
		side{&lazy, reference(riverOf(1000), backlog, false)},
		// A fifth of the backlog: it is the slowest, and its rate does not change.
		side{&water, reference(openWatermill, backlog/5, true)},
	)
	const what = "backlog of 50 000 events relayed"
	return []row{
		{what: what, unit: "events/s", ours: ours, against: "River, 1000 workers", reference: river, goal: 10},
		{what: what, unit: "events/s", ours: ours, against: "River, 1000 workers, broker that does not fsync", reference: lazy, goal: 3},
		{what: what, unit: "events/s", ours: ours, against: "watermill-sql, tuned", reference: water},
	}, err
}
