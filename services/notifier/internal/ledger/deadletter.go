package ledger

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// DeadLetter is a delivery that ended without reaching anybody, or an event that
// could not be read.
type DeadLetter struct {
	ID             uuid.UUID  `db:"id"`
	Channel        string     `db:"channel"` // of a delivery; EVENT for an event
	Kind           string     `db:"kind"`
	ConversationID *uuid.UUID `db:"conversation_id"`
	Caisse         string     `db:"caisse"`
	State          State      `db:"state"`
	Reason         string     `db:"reason"`
	Provider       string     `db:"provider"`
	Attempts       int32      `db:"attempts"`
	OccurredAt     *time.Time `db:"occurred_at"`
	EndedAt        time.Time  `db:"ended_at"`
}

// Event is in the place of a channel, for events.
const Event = "EVENT"

// isDeadLetter is literally the predicate of the index delivery_dead_letter, and what
// backlog_kind (migration 00005) tells.
const isDeadLetter = `state IN ('refused', 'expired', 'bounced', 'suppressed') AND dropped_at IS NULL
	   AND (state <> 'suppressed' OR reason IN ('` + ReasonEmailInvalid + `', '` + ReasonPhoneInvalid + `', '` + ReasonConversationUnknown + `', '` + ReasonRenderFailed + `'))`

// A member whom there is no way to reach is no dead letter: nothing went wrong.
const (
	deadDeliveries = `(SELECT event_id AS id, channel, event_type AS kind, conversation_id, caisse, state, reason, provider, attempts,
		occurred_at, updated_at AS ended_at FROM delivery WHERE ` + isDeadLetter + `)`
	deadEvents = `(SELECT id, '` + Event + `' AS channel, type AS kind, NULL::uuid AS conversation_id, '' AS caisse, '' AS state, reason, '' AS provider, 0 AS attempts,
		occurred_at, set_aside_at AS ended_at FROM set_aside WHERE ended_at IS NULL)`
)

// deadLetters is a relation of the first, in an order, of those that a condition selects.
// An index gives each of the two kinds in that order; as many of each are merged.
func (f Filter) deadLetters(where, order string) string {
	var kinds []string
	for kind, wanted := range map[string]bool{deadDeliveries: f.Channel != Event, deadEvents: !f.Deliveries && (f.Channel == "" || f.Channel == Event)} {
		if wanted {
			kinds = append(kinds, `(SELECT * FROM `+kind+` AS letter WHERE `+where+` ORDER BY `+order+` LIMIT @limit)`)
		}
	}
	if len(kinds) == 0 { // events of a channel
		kinds = append(kinds, `(SELECT * FROM `+deadEvents+` AS letter WHERE false)`)
	}
	slices.Sort(kinds) // one text for each question
	return `(SELECT * FROM (` + strings.Join(kinds, ` UNION ALL `) + `) AS letter ORDER BY ` + order + ` LIMIT @limit) AS letter`
}

const (
	newestFirst = `ended_at DESC, id DESC, channel DESC`
	oldestFirst = `ended_at, id, channel`
)

// deadOf is one of the kinds: whether it is that of events.
var deadOf = map[bool]string{true: deadEvents, false: deadDeliveries}

// Filter selects dead letters; empty fields select all.
type Filter struct {
	// IDs, if any, are those wanted, with their channels beside them.
	IDs      []uuid.UUID
	Channels []string
	// Channel is a channel or eventLetter; deliveries leaves out events.
	Channel          string
	Deliveries       bool
	Reason, Provider string
	From, Before     *time.Time
}

func (f Filter) where() (string, pgx.NamedArgs) {
	args := pgx.NamedArgs{}
	where := `true`
	narrow := func(wanted bool, condition, name string, value any) {
		if wanted {
			where += ` AND ` + condition
			args[name] = value
		}
	}
	narrow(f.IDs != nil, `(id, channel) IN (SELECT * FROM unnest(@ids::uuid[], @channels::text[]))`, "ids", f.IDs)
	args["channels"] = f.Channels
	narrow(f.Channel != "", `channel = @channel`, "channel", f.Channel)
	narrow(f.Deliveries, `channel <> @event`, "event", Event)
	narrow(f.Reason != "", `reason = @reason`, "reason", f.Reason)
	narrow(f.Provider != "", `provider = @provider`, "provider", f.Provider)
	narrow(f.From != nil, `ended_at >= @from`, "from", f.From)
	narrow(f.Before != nil, `ended_at < @before`, "before", f.Before)
	return where, args
}

// Place is where a page of dead letters begins: after this one.
type Place struct {
	At      time.Time
	ID      uuid.UUID
	Channel string
}

// DeadLetters returns a page, newest first.
func (l *Ledger) DeadLetters(ctx context.Context, f Filter, after *Place, limit int) ([]DeadLetter, error) {
	where, args := f.where()
	if after != nil {
		where += ` AND (ended_at, id, channel) < (@afterEnded, @afterID, @afterChannel)`
		args["afterEnded"], args["afterID"], args["afterChannel"] = after.At, after.ID, after.Channel
	}
	args["limit"] = limit
	return postgres.Many[DeadLetter](ctx, l.pool, "listing dead letters", `SELECT * FROM `+f.deadLetters(where, newestFirst)+` ORDER BY `+newestFirst, args)
}

// CountDeadLetters returns how many a filter selects, up to replayMost of them. Their numbers
// are kept, by kind and by day: only named ones, and those of a part of a day, are counted.
func (l *Ledger) CountDeadLetters(ctx context.Context, f Filter) (int32, error) {
	var question string
	where, args := f.where()
	switch {
	case f.IDs != nil:
		question = `SELECT count(*) FROM ` + f.deadLetters(where, oldestFirst)
	case f.From == nil && f.Before == nil:
		question = `SELECT LEAST(COALESCE(sum(n), 0), @limit)::integer FROM ` + tallyDeadLetters.kept() + ` WHERE ` + where
	default:
		from, first, last, before := f.days()
		f.From, f.Before = nil, nil
		where, args = f.where()
		args["from"], args["first"], args["last"], args["before"] = from, first, last, before
		if last.Before(first) { // within a day
			question = `SELECT count(*) FROM ` + f.deadLetters(where+` AND ended_at >= @from AND ended_at < @before`, oldestFirst)
			break
		}
		question = `SELECT LEAST(sum(n), @limit)::integer FROM (
			SELECT COALESCE(sum(n), 0) AS n FROM ` + tallyDeadDays.kept() + ` WHERE ` + where + `
			   AND day >= (@first::timestamptz AT TIME ZONE 'UTC')::date AND day < (@last::timestamptz AT TIME ZONE 'UTC')::date
			UNION ALL SELECT count(*) FROM ` + f.deadLetters(where+` AND ended_at >= @from AND ended_at < @first`, oldestFirst) + `
			UNION ALL SELECT count(*) FROM ` + f.deadLetters(where+` AND ended_at >= @last AND ended_at < @before`, oldestFirst) + `) AS part`
	}
	args["limit"] = replayMost
	return postgres.One[int32](ctx, l.pool, "counting dead letters", question, args)
}

// days are the bounds of a filter's time, and those of the whole days (UTC) within it: last
// is before first where it lies within one day.
func (f Filter) days() (from, first, last, before time.Time) {
	const day = 24 * time.Hour
	from, before = time.Unix(0, 0).UTC(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if f.From != nil && f.From.After(from) {
		from = f.From.UTC()
	}
	if f.Before != nil && f.Before.Before(before) {
		before = f.Before.UTC()
	}
	if first = from.Truncate(day); first.Before(from) {
		first = first.Add(day)
	}
	return from, first, before.Truncate(day), before
}
