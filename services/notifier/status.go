package notifier

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/chassis"
	reports "github.com/ma-messagerie/messagerie/chassis/report"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

// statusAttempts bounds how many attempts are looked at, newest first.
const statusAttempts = 200_000

// GetStatus reports to operators how this service is. See the .proto.
func (s *operatorServer) GetStatus(ctx context.Context, _ *notifierpb.GetStatusRequest) (*notifierpb.GetStatusResponse, error) {
	q := question(ctx, "status")
	q.MaxAge = s.maxAge / 10
	resp, err := reports.Read(ctx, s.asked, q, s.status)
	return resp, statusOf(err)
}

func (s *operatorServer) status(ctx context.Context) (*notifierpb.GetStatusResponse, error) {
	resp := &notifierpb.GetStatusResponse{BuildVersion: chassis.Version()}
	list, err := s.apart.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		resp.Waiting = append(resp.Waiting, &notifierpb.WaitingDeliveries{
			Channel: channelOf[w.Channel], State: string(w.State), Deliveries: w.Rows, Overdue: ageOf(&w.Overdue),
		})
	}
	letters, err := s.apart.DeadLetterCount(ctx)
	if err != nil {
		return nil, err
	}
	resp.DeadLetters = int32(min(letters, math.MaxInt32)) //nolint:gosec // bounded
	var lag *float64
	if resp.SchemaVersion, lag, err = s.apart.standing(ctx); err != nil {
		return nil, err
	}
	resp.ReconcileLag = ageOf(lag)
	if err := s.providers(ctx, resp); err != nil {
		return nil, err
	}
	resp.BrokerReachable = s.broker.Ready(ctx) == nil
	return resp, nil
}

// standing is the version of the schema, and how far behind the reconciliation is in
// seconds, if it has begun.
func (l *ledger) standing(ctx context.Context) (schema int64, lag *float64, err error) {
	err = l.pool.QueryRow(ctx, `SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied),
		(SELECT extract(epoch FROM now() - settled_until)::float8 FROM reconciliation)`).Scan(&schema, &lag)
	if err != nil {
		return 0, nil, fmt.Errorf("reading the status: %w", err)
	}
	return schema, lag, nil
}

// providers fills in what became of calls to the providers, and what keeps them
// back.
func (s *operatorServer) providers(ctx context.Context, resp *notifierpb.GetStatusResponse) error {
	tried, window, err := s.apart.tried(ctx)
	if err != nil {
		return err
	}
	resp.ProviderWindow = durationpb.New(window)
	for _, l := range s.lanes {
		for _, g := range l.gates {
			p := &notifierpb.ProviderStatus{Provider: g.provider, Channel: channelOf[l.channel], BreakerOpen: g.breaker.IsOpen()}
			if wait := g.quiet(); wait > 0 {
				p.Quiet = durationpb.New(wait)
			}
			n := tried[g.provider]
			p.Accepted, p.Refused, p.Failed = n.Accepted, n.Refused, n.Failed
			p.CallsFiveMinutes, p.FailedFiveMinutes, p.ConfigFaultsTenMinutes = n.Calls5, n.Failed5, n.Config10
			p.ReportAge = ageOf(n.Reported)
			resp.Providers = append(resp.Providers, p)
		}
	}
	return nil
}

// attempts are those of one provider.
type attempts struct {
	Provider                                             string
	Accepted, Refused, Failed, Calls5, Failed5, Config10 int64
	// Reported is the age of the newest report, in seconds.
	Reported *float64
	// Oldest is the age of the oldest attempt looked at, in seconds, when there
	// were more; else nil.
	Oldest *float64
}

// tried sums up the attempts of the last hour by provider, and tells how far back
// that goes.
func (l *ledger) tried(ctx context.Context) (map[string]attempts, time.Duration, error) {
	window := time.Hour
	rows, err := l.pool.Query(ctx, `
		WITH newest AS (SELECT provider, outcome, finished_at FROM attempt WHERE finished_at > now() - interval '1 hour' ORDER BY finished_at DESC LIMIT $1),
		tried AS (SELECT provider,
		    count(*) FILTER (WHERE outcome IN ('accepted', 'found')) AS accepted,
		    count(*) FILTER (WHERE outcome = 'refused') AS refused,
		    count(*) FILTER (WHERE outcome IN ('not_sent', 'unknown', 'config_fault')) AS failed,
		    count(*) FILTER (WHERE finished_at > now() - interval '5 minutes') AS calls5,
		    count(*) FILTER (WHERE outcome IN ('not_sent', 'unknown') AND finished_at > now() - interval '5 minutes') AS failed5,
		    count(*) FILTER (WHERE outcome = 'config_fault' AND finished_at > now() - interval '10 minutes') AS config10
		    FROM newest GROUP BY provider),
		reported AS (SELECT provider, extract(epoch FROM now() - max(received_at))::float8 AS reported
		    FROM (SELECT provider, received_at FROM report ORDER BY received_at DESC LIMIT 10000) AS r GROUP BY provider)
		SELECT coalesce(t.provider, r.provider) AS provider, coalesce(accepted, 0) AS accepted, coalesce(refused, 0) AS refused,
		    coalesce(failed, 0) AS failed, coalesce(calls5, 0) AS calls5, coalesce(failed5, 0) AS failed5, coalesce(config10, 0) AS config10,
		    reported, (SELECT extract(epoch FROM now() - min(finished_at))::float8 FROM newest HAVING count(*) = $1) AS oldest
		FROM tried t FULL JOIN reported r ON r.provider = t.provider`, statusAttempts)
	if err != nil {
		return nil, 0, fmt.Errorf("counting attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[attempts])
	if err != nil {
		return nil, 0, fmt.Errorf("counting attempts: %w", err)
	}
	tried := make(map[string]attempts, len(list))
	for _, row := range list {
		tried[row.Provider] = row
		if row.Oldest != nil {
			window = min(window, time.Duration(*row.Oldest*float64(time.Second)))
		}
	}
	return tried, window, nil
}

// ageOf is a number of seconds, if there is one above 0.
func ageOf(seconds *float64) *durationpb.Duration {
	if seconds == nil || *seconds <= 0 {
		return nil
	}
	return durationpb.New(time.Duration(*seconds * float64(time.Second)))
}
