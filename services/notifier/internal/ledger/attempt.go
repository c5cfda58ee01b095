package ledger

import (
	"context"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// How attempts ended is added up in slots of ten seconds when these are past, by the sweeper;
// who asks adds what has been tried since. A slot is past 30 seconds after its end: what a
// transaction that takes longer records is in the timeline, and not in these figures.

// Attempts are those of one provider in the last hour, to ten seconds.
type Attempts struct {
	Provider                                             string
	Accepted, Refused, Failed, Calls5, Failed5, Config10 int64
	// Reported is the age of the newest report, in seconds.
	Reported *float64
}

const attemptsUncounted = `finished_at >= GREATEST(
	(SELECT max(slot) FROM attempt_slot WHERE slot <= now()) + interval '10 seconds',
	date_bin('10 seconds', now() - interval '1 hour', timestamptz 'epoch'))`

// Tried sums up the attempts of the last hour by provider; of those named it has the newest
// report, too.
func (l *Ledger) Tried(ctx context.Context, named []string) (map[string]Attempts, error) {
	list, err := postgres.Many[Attempts](ctx, l.pool, "counting attempts", `
		WITH recent AS (
			SELECT provider, outcome, slot AS at, n FROM attempt_slot WHERE slot > now() - interval '1 hour' AND slot <= now()
			UNION ALL SELECT provider, outcome, finished_at, 1 FROM attempt WHERE `+attemptsUncounted+` AND finished_at > now() - interval '1 hour'
		), tried AS (
			SELECT provider,
			    sum(n) FILTER (WHERE outcome IN ('accepted', 'found')) AS accepted,
			    sum(n) FILTER (WHERE outcome = 'refused') AS refused,
			    sum(n) FILTER (WHERE outcome IN ('not_sent', 'unknown', 'config_fault')) AS failed,
			    sum(n) FILTER (WHERE at > now() - interval '5 minutes') AS calls5,
			    sum(n) FILTER (WHERE outcome IN ('not_sent', 'unknown') AND at > now() - interval '5 minutes') AS failed5,
			    sum(n) FILTER (WHERE outcome = 'config_fault' AND at > now() - interval '10 minutes') AS config10
			FROM recent GROUP BY provider
		), reported AS (
			-- The first of report_provider at or before the provider's last, which is of another where
			-- the provider has none: asked with =, the planner looks for it through all reports.
			SELECT provider, (SELECT CASE r.provider WHEN named.provider THEN extract(epoch FROM now() - r.received_at)::float8 END FROM report AS r
			    WHERE (r.provider, r.received_at) <= (named.provider, 'infinity'::timestamptz) ORDER BY r.provider DESC, r.received_at DESC LIMIT 1) AS reported
			FROM unnest($1::text[]) AS named (provider)
		)
		SELECT provider, coalesce(accepted, 0) AS accepted, coalesce(refused, 0) AS refused, coalesce(failed, 0) AS failed,
		    coalesce(calls5, 0) AS calls5, coalesce(failed5, 0) AS failed5, coalesce(config10, 0) AS config10, reported
		FROM tried FULL JOIN reported USING (provider)`, named)
	if err != nil {
		return nil, err
	}
	tried := make(map[string]Attempts, len(list))
	for _, row := range list {
		tried[row.Provider] = row
	}
	return tried, nil
}

// foldAttempts adds up the slots that are past, and forgets old ones. Any number of processes
// may: each counts a slot whole, and the first is kept. Slots to come are of a clock that was
// ahead.
func (l *Ledger) foldAttempts(ctx context.Context) error {
	_, err := postgres.Exec(ctx, l.pool, "adding up attempts", `
		WITH forgotten AS (DELETE FROM attempt_slot WHERE slot < now() - interval '2 hours' OR slot > now())
		INSERT INTO attempt_slot (slot, provider, outcome, n)
		SELECT date_bin('10 seconds', finished_at, timestamptz 'epoch') AS slot, provider, outcome, count(*) FROM attempt
		WHERE `+attemptsUncounted+` AND finished_at < date_bin('10 seconds', now() - interval '30 seconds', timestamptz 'epoch')
		GROUP BY slot, provider, outcome
		ON CONFLICT DO NOTHING`)
	return err
}
