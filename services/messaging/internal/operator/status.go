// Package operator is OperatorService: the status of messaging, the events that the broker
// refuses, which operators list, requeue or drop, and the keys that wrap members' keys.
package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// Server is OperatorService.
type Server struct {
	messagingpb.UnimplementedOperatorServiceServer

	DB      *pgxpool.Pool
	Reports *reports.Reports
	Broker  *bus.Bus
	Vault   *vault.Vault
	// Begin is where the relay begins to look for events.
	Begin func() uuid.UUID
	// Keep is how long conversations are kept.
	Keep conversation.Retention
}

// GetStatus reports to operators how this service is. See the .proto.
func (s *Server) GetStatus(ctx context.Context, _ *messagingpb.GetStatusRequest) (*messagingpb.GetStatusResponse, error) {
	resp, err := report.Read(ctx, s.Reports.Figures, reports.Ask(ctx, "status", s.Reports.MaxAge/10), func(ctx context.Context) (*messagingpb.GetStatusResponse, error) {
		resp, err := status(ctx, s.Reports.DB, s.Begin())
		if err != nil {
			return nil, err
		}
		resp.BrokerReachable, resp.Keys = s.Broker.Ready(ctx) == nil, s.keyFit(ctx)
		resp.PurgedConversationsDay, resp.DueConversations, err = purge(ctx, s.Reports.DB, s.Keep)
		return resp, err
	})
	return resp, err
}

// Submissions are counted in slots of ten seconds once these are past; a reader adds those
// that came since. A slot is past when its events count as final ([outbox.SettleTime]).

// submissionsUncounted is the condition for an event to be in no counted slot.
const submissionsUncounted = `created_at >= GREATEST(
	(SELECT max(slot) FROM submission_slot WHERE slot <= now()) + interval '10 seconds',
	date_bin('10 seconds', now() - interval '1 hour', timestamptz 'epoch'))`

// loggedLately is the condition for an event to be of the last days.
func loggedLately() string {
	return `created_at >= '` + time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly) + ` 00:00Z'`
}

// FoldSubmissions counts the slots that are past, and deletes old ones. Any number of
// processes may run it: each counts whole slots, and the first count is kept. A slot in the
// future was counted under a clock that ran ahead, and is deleted too.
func FoldSubmissions(ctx context.Context, db postgres.Querier) error {
	_, err := postgres.Exec(ctx, db, "adding up submissions", `
		WITH forgotten AS (DELETE FROM submission_slot WHERE slot < now() - interval '2 hours' OR slot > now())
		INSERT INTO submission_slot (slot, n)
		SELECT date_bin('10 seconds', created_at, timestamptz 'epoch') AS slot, count(*) FROM event_log
		WHERE `+loggedLately()+` AND type = $1 AND `+submissionsUncounted+`
		  AND created_at < date_bin('10 seconds', now() - $2::interval, timestamptz 'epoch')
		GROUP BY slot
		ON CONFLICT DO NOTHING`, eventspb.TypeMessageSubmitted, outbox.SettleTime)
	return err
}

// status reads the figures of GetStatus that the database has.
func status(ctx context.Context, db *pgxpool.Pool, from uuid.UUID) (*messagingpb.GetStatusResponse, error) {
	resp := &messagingpb.GetStatusResponse{BuildVersion: chassis.Version()}
	var unanswered, newest *float64
	// In the statement itself: PostgreSQL then plans for some days of the log, and not for
	// each of the hundreds that it has.
	lately := loggedLately()
	err := db.QueryRow(ctx, `
		SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied),
		       w.n, w.unanswered, e.five, e.hour,
		       (SELECT extract(epoch FROM now() - created_at)::float8 FROM event_log WHERE `+lately+` ORDER BY created_at DESC LIMIT 1)
		FROM (SELECT coalesce(sum(n), 0)::bigint AS n, (`+waiting.OldestUnanswered+`) AS unanswered FROM `+waiting.Kept+`) AS w,
		     (SELECT coalesce(sum(n) FILTER (WHERE at > now() - interval '5 minutes'), 0) AS five, coalesce(sum(n), 0) AS hour
		      FROM (SELECT slot AS at, n FROM submission_slot WHERE slot > now() - interval '1 hour' AND slot <= now()
		            UNION ALL SELECT created_at, 1 FROM event_log
		            WHERE `+lately+` AND type = $1 AND `+submissionsUncounted+` AND created_at > now() - interval '1 hour') AS recent) AS e`,
		eventspb.TypeMessageSubmitted).Scan(&resp.SchemaVersion, &resp.WaitingConversations, &unanswered,
		&resp.SubmissionsFiveMinutes, &resp.SubmissionsHour, &newest)
	if err != nil {
		return nil, fmt.Errorf("reading the status: %w", err)
	}
	if newest == nil { // nothing for days: all of the log is looked at
		err := db.QueryRow(ctx, `SELECT extract(epoch FROM now() - created_at)::float8 FROM event_log ORDER BY created_at DESC LIMIT 1`).Scan(&newest)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("looking for the newest event: %w", err)
		}
	}
	outbox, err := outbox.New(db).Figures(ctx, from)
	if err != nil {
		return nil, err
	}
	resp.OldestUnansweredAge, resp.NewestEventAge = ageOf(unanswered), ageOf(newest)
	resp.OutboxEvents, resp.SetAsideEvents = outbox.Waiting, outbox.SetAside
	if outbox.Waiting > 0 {
		resp.OutboxAge = ageOf(&outbox.Oldest)
	}
	return resp, nil
}

// mostDue is up to how many conversations are counted that have passed their term.
const mostDue = 10_000

// kept is how long conversations with a number of years are kept; 0 for those of the setting.
type kept struct {
	Years int32         `db:"years"`
	Term  time.Duration `db:"term"`
}

var (
	keptRows = postgres.RowsOf[kept]()

	purgeSQL = `
		SELECT (SELECT coalesce(sum(n), 0) FROM purge_slot WHERE slot > now() - interval '1 day' AND slot <= now())::bigint AS purged,
		       (SELECT count(*) FROM (
		           SELECT FROM ` + keptRows.From("kept", 2) + `, LATERAL (
		               SELECT FROM conversation AS c WHERE ` + conversation.DueSQL("kept.years", "kept.term") + ` LIMIT $1) AS of_term
		           LIMIT $1) AS due) AS due`
)

// purge counts the conversations that were deleted at their term within the last day, by
// hours, and those that are due.
func purge(ctx context.Context, db postgres.Querier, keep conversation.Retention) (purged, due int64, err error) {
	var terms []kept
	for years := range int16(conversation.MostYears + 1) {
		if term := keep.Of(years); term != 0 {
			terms = append(terms, kept{int32(years), term})
		}
	}
	found, err := postgres.One[struct {
		Purged int64 `db:"purged"`
		Due    int64 `db:"due"`
	}](ctx, db, "counting what was deleted and is due", purgeSQL, keptRows.Args(terms, mostDue)...)
	return found.Purged, found.Due, err
}

// ageOf is a number of seconds, if there is one.
func ageOf(seconds *float64) *durationpb.Duration {
	if seconds == nil {
		return nil
	}
	return durationpb.New(time.Duration(*seconds * float64(time.Second)))
}
