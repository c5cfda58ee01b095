package ledger

import (
	"context"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Swept counts what Sweep moved.
type Swept struct {
	Lapsed, Expired map[Channel]int64
}

// Sweep ends the waits that nobody else ends. A lapsed lease becomes unknown: its
// sender may have called the provider and died before it could say so. What is
// past its time expires. Any number of processes may sweep at once.
func (l *Ledger) Sweep(ctx context.Context) (Swept, error) {
	done := Swept{Lapsed: make(map[Channel]int64), Expired: make(map[Channel]int64)}
	if err := l.followClock(ctx); err != nil {
		return done, err
	}
	lapsed, err := postgres.Many[Channel](ctx, l.pool, "sweeping lapsed leases", `
		WITH lapsed AS (
			SELECT event_id, channel, attempt_id, updated_at FROM delivery
			WHERE state = 'sending' AND lease_until <= LEAST(now(), $4)
			ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
		), moved AS (
			UPDATE delivery AS d
			SET state = 'unknown', unknowns = unknowns + 1, lease_until = NULL, reason = $2, updated_at = now(),
			    next_attempt_at = CASE WHEN d.channel = 'SMS' AND unknowns > 0 AND $3 THEN expires_at
			                           ELSE LEAST(expires_at, now() + $1::interval) END
			FROM lapsed AS l WHERE d.event_id = l.event_id AND d.channel = l.channel)
		INSERT INTO attempt (event_id, channel, attempt_id, started_at, outcome, reason, applied)
		SELECT event_id, channel, attempt_id, updated_at, 'unknown', $2::text, true FROM lapsed
		RETURNING channel`, l.doubts.Wait, reasonLapsed, l.doubts.Blind, l.clock.latest(time.Now()))
	if err != nil {
		return done, err
	}
	for _, channel := range lapsed {
		done.Lapsed[channel]++
	}
	if !l.clock.expiring(time.Now()) {
		return done, nil
	}
	for _, channel := range Channels {
		expired, err := postgres.Exec(ctx, l.pool, "sweeping what is past its time", `
			WITH late AS (
				SELECT event_id, channel FROM delivery
				-- None waits for longer than its time, so what is past it is due.
				WHERE channel = $1 AND state IN ('planned', 'retry', 'unknown') AND expires_at <= LEAST(now(), $4)
				ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
			UPDATE delivery AS d
			SET state = 'expired', reason = CASE WHEN unknowns > 0 THEN $2 ELSE $3 END, next_attempt_at = NULL, updated_at = now()
			FROM late WHERE d.event_id = late.event_id AND d.channel = late.channel`, channel, reasonUnknown, reasonLate, l.clock.latest(time.Now()))
		if err != nil {
			return done, err
		}
		done.Expired[channel] = expired
	}
	return done, nil
}
