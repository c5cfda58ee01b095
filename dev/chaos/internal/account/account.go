// Package account collects what everybody believes of a run and compares it: what
// clients were told, what PostgreSQL holds, what the providers accepted, and what the
// notifier's ledger says.
//
// Check names each difference as what it is: lost, twice, missing, about nothing. The
// accounts are independent: none is read from another. They are collected after Settle,
// when nothing is under way; earlier ones differ without anything being wrong.
package account

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
	"github.com/ma-messagerie/messagerie/dev/inbox"
)

// Collect asks everybody for their account of the run.
func Collect(ctx context.Context, f *fleet.Fleet, l *load.Load) (Facts, error) {
	out := Facts{ReplyKeys: make(map[string]string), Unsettled: make(map[string]int), Ended: make(map[string]int)}
	out.Sent, out.Replies, out.Confused = l.Account()
	if err := out.collectMessaging(ctx, f.Database); err != nil {
		return out, err
	}
	if err := out.collectLedger(ctx, f.Database); err != nil {
		return out, err
	}
	return out, out.collectInbox(ctx, f)
}

func (out *Facts) collectMessaging(ctx context.Context, db *fleet.Database) (err error) {
	out.Stored, err = fleet.Query[Stored](ctx, db, "messaging", `
		SELECT c.id::text, split_part(c.member_id, ':', 2), c.idempotency_key::text, c.reference,
		       (SELECT count(*) FROM message m WHERE m.conversation_id = c.id AND m.author = 2)::int FROM conversation c WHERE c.`+isOurs)
	if err != nil {
		return err
	}
	keys, err := fleet.Query[struct{ Key, Conversation string }](ctx, db, "messaging", `SELECT idempotency_key::text, conversation_id::text FROM message WHERE author = 2 AND agent_id <> '`+Filled+`'`)
	if err != nil {
		return err
	}
	for _, k := range keys {
		out.ReplyKeys[k.Key] = k.Conversation
	}
	waiting, err := fleet.Query[struct{ N int }](ctx, db, "messaging", `SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM outbox_refused)`)
	if err != nil {
		return err
	}
	out.Outbox = waiting[0].N
	return nil
}

type stateCount struct {
	State, Reason string
	N             int
}

// OpenStates are those in which a delivery has not ended.
const OpenStates = `('planned', 'sending', 'retry', 'unknown')`

// Filled is the agent, and with a number behind it the caisse, of rows that were made to
// fill tables, and that the load knows nothing of.
const Filled = "filled"

const isOurs = `caisse NOT LIKE '` + Filled + `-%'`

// isParked reports whether an SMS was in doubt twice where nobody could tell: it is
// left alone until it expires, hours later.
const isParked = `(state = 'unknown' AND channel = 'SMS' AND unknowns > 1 AND next_attempt_at = expires_at)`

func (out *Facts) collectLedger(ctx context.Context, db *fleet.Database) error {
	unsettled, err := fleet.Query[stateCount](ctx, db, "notifier", `SELECT state, '', count(*) FROM delivery WHERE state IN `+OpenStates+` AND NOT `+isParked+` AND `+isOurs+` GROUP BY 1`)
	if err != nil {
		return err
	}
	for _, s := range unsettled {
		out.Unsettled[s.State] = s.N
	}
	ended, err := fleet.Query[stateCount](ctx, db, "notifier", `SELECT state, reason, count(*) FROM delivery WHERE state IN ('refused', 'expired', 'suppressed', 'bounced', 'complained') AND reason <> 'NOT_WANTED' AND `+isOurs+` GROUP BY 1, 2`)
	if err != nil {
		return err
	}
	for _, s := range ended {
		out.Ended[s.State+" "+s.Reason] = s.N
	}
	doubts, err := fleet.Query[struct{ N int }](ctx, db, "notifier", `SELECT count(*) FROM attempt WHERE outcome = 'unknown'`)
	if err != nil {
		return err
	}
	out.Doubts = doubts[0].N
	parked, err := fleet.Query[struct{ N int }](ctx, db, "notifier", `SELECT count(*) FROM delivery WHERE `+isParked)
	if err != nil {
		return err
	}
	out.Parked = parked[0].N
	return nil
}

func (out *Facts) collectInbox(ctx context.Context, f *fleet.Fleet) error {
	resp, err := f.Get(ctx, "/api/accepted")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var m inbox.Accepted
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return fmt.Errorf("reading what was accepted: %w", err)
		}
		out.Accepted = append(out.Accepted, Accepted{m.Channel, m.Reference})
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading what was accepted: %w", err)
	}
	counts, err := reportCounts(ctx, f)
	out.ForgedTaken = counts.ForgedTaken
	return err
}

func reportCounts(ctx context.Context, f *fleet.Fleet) (inbox.ReportCounts, error) {
	var got struct{ Counts inbox.ReportCounts }
	resp, err := f.Get(ctx, "/api/reports")
	if err != nil {
		return got.Counts, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return got.Counts, fmt.Errorf("reading the counts of reports: %w", err)
	}
	return got.Counts, nil
}

// Settle waits until nothing is under way any more: the outbox is empty, every
// event of the log is in the ledger, every delivery has ended and every report was
// taken. Deliveries that wait for their next attempt are hurried: their calendar
// runs for hours. Those in doubt wait for news as long as they should.
func Settle(ctx context.Context, f *fleet.Fleet, patience time.Duration) (took time.Duration, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		left, err := unfinished(ctx, f)
		if err == nil && left == "" {
			return time.Since(begun), nil
		}
		if !fleet.Sleep(ctx, 500*time.Millisecond) {
			return time.Since(begun), errors.Join(fmt.Errorf("not finished after %s: %s", patience, left), err)
		}
	}
}

func unfinished(ctx context.Context, f *fleet.Fleet) (string, error) {
	_, err := fleet.Query[struct{ N int }](ctx, f.Database, "notifier", `
		WITH hurried AS (
			UPDATE delivery SET next_attempt_at = CASE state WHEN 'retry' THEN now() ELSE updated_at + $1::interval END
			WHERE (state = 'retry' AND next_attempt_at > now() + interval '1 second'
			       OR state = 'unknown' AND next_attempt_at > updated_at + $1::interval + interval '1 second') AND NOT `+isParked+` RETURNING 1)
		SELECT count(*) FROM hurried`, fleet.AmbiguityWait)
	if err != nil {
		return "", err
	}
	events, err := fleet.Query[struct{ Logged, Outbox int }](ctx, f.Database, "messaging", `
		SELECT (SELECT count(*) FROM event_log WHERE type IN ('message-submitted', 'reply-posted')), (SELECT count(*) FROM outbox) + (SELECT count(*) FROM outbox_refused)`)
	if err != nil {
		return "", err
	}
	ledger, err := fleet.Query[struct{ Events, Open int }](ctx, f.Database, "notifier", `
		SELECT count(*) FILTER (WHERE channel = 'EMAIL'), count(*) FILTER (WHERE state IN `+OpenStates+` AND NOT `+isParked+`) FROM delivery WHERE `+isOurs)
	if err != nil {
		return "", err
	}
	counts, err := reportCounts(ctx, f)
	if err != nil {
		return "", err
	}
	if events[0].Outbox == 0 && ledger[0].Events >= events[0].Logged && ledger[0].Open == 0 && counts.Pending == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d events in the outbox, %d of %d in the ledger, %d deliveries open, %d reports pending",
		events[0].Outbox, ledger[0].Events, events[0].Logged, ledger[0].Open, counts.Pending), nil
}
