package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/dev/inbox"
)

// collect asks everybody for their account of the run.
func (f *fleet) collect(ctx context.Context, l *load) (facts, error) {
	out := facts{ReplyKeys: make(map[string]string), Unsettled: make(map[string]int), Ended: make(map[string]int)}
	l.mu.Lock()
	out.Sent, out.Replies, out.Confused = l.sent, l.replies, l.failures["one key, two answers"]
	l.mu.Unlock()
	if err := f.collectMessaging(ctx, &out); err != nil {
		return out, err
	}
	if err := f.collectLedger(ctx, &out); err != nil {
		return out, err
	}
	return out, f.collectInbox(ctx, &out)
}

func query[T any](ctx context.Context, url, sql string, args ...any) ([]T, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	return list, nil
}

func (f *fleet) collectMessaging(ctx context.Context, out *facts) (err error) {
	url := f.database.url("messaging")
	out.Stored, err = query[stored](ctx, url, `
		SELECT c.id::text, split_part(c.member_id, ':', 2), c.idempotency_key::text, c.reference,
		       (SELECT count(*) FROM message m WHERE m.conversation_id = c.id AND m.author = 2)::int FROM conversation c`)
	if err != nil {
		return err
	}
	keys, err := query[struct{ Key, Conversation string }](ctx, url, `SELECT idempotency_key::text, conversation_id::text FROM message WHERE author = 2`)
	if err != nil {
		return err
	}
	for _, k := range keys {
		out.ReplyKeys[k.Key] = k.Conversation
	}
	waiting, err := query[struct{ N int }](ctx, url, `SELECT count(*) FROM outbox`)
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

// openStates are those in which a delivery has not ended.
const openStates = `('planned', 'sending', 'retry', 'unknown')`

// isParked tells whether an SMS was in doubt twice where nobody could tell: it is
// left alone until it expires, hours later.
const isParked = `(state = 'unknown' AND channel = 'SMS' AND unknowns > 1 AND next_attempt_at = expires_at)`

func (f *fleet) collectLedger(ctx context.Context, out *facts) error {
	url := f.database.url("notifier")
	unsettled, err := query[stateCount](ctx, url, `SELECT state, '', count(*) FROM delivery WHERE state IN `+openStates+` AND NOT `+isParked+` GROUP BY 1`)
	if err != nil {
		return err
	}
	for _, s := range unsettled {
		out.Unsettled[s.State] = s.N
	}
	ended, err := query[stateCount](ctx, url, `SELECT state, reason, count(*) FROM delivery WHERE state IN ('refused', 'expired', 'suppressed', 'bounced', 'complained') GROUP BY 1, 2`)
	if err != nil {
		return err
	}
	for _, s := range ended {
		out.Ended[s.State+" "+s.Reason] = s.N
	}
	doubts, err := query[struct{ N int }](ctx, url, `SELECT count(*) FROM attempt WHERE outcome = 'unknown'`)
	if err != nil {
		return err
	}
	out.Doubts = doubts[0].N
	parked, err := query[struct{ N int }](ctx, url, `SELECT count(*) FROM delivery WHERE `+isParked)
	if err != nil {
		return err
	}
	out.Parked = parked[0].N
	return nil
}

func (f *fleet) collectInbox(ctx context.Context, out *facts) error {
	resp, err := f.get(ctx, "/api/accepted")
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
		out.Accepted = append(out.Accepted, accepted{m.Channel, m.Reference})
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading what was accepted: %w", err)
	}
	counts, err := f.reportCounts(ctx)
	out.ForgedTaken = counts.ForgedTaken
	return err
}

func (f *fleet) reportCounts(ctx context.Context) (inbox.ReportCounts, error) {
	var got struct{ Counts inbox.ReportCounts }
	resp, err := f.get(ctx, "/api/reports")
	if err != nil {
		return got.Counts, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return got.Counts, fmt.Errorf("reading the counts of reports: %w", err)
	}
	return got.Counts, nil
}

// client is for the inbox, whose longest answer is a line for each message.
var client = &http.Client{Timeout: time.Minute}

func (f *fleet) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.inboxAddr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the inbox: %w", err)
	}
	return resp, nil
}

// tell sets something of the inbox.
func (f *fleet) tell(ctx context.Context, path string, body any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("telling the inbox: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.inboxAddr+path, strings.NewReader(string(content)))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("telling the inbox: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("telling the inbox: it answers %s", resp.Status)
	}
	return nil
}

// settle waits until nothing is under way any more: the outbox is empty, every
// event of the log is in the ledger, every delivery has ended and every report was
// taken. Deliveries that wait for their next attempt are hurried: their calendar
// runs for hours. Those in doubt wait for news as long as they should.
func (f *fleet) settle(ctx context.Context, patience time.Duration) (took time.Duration, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		left, err := f.unfinished(ctx)
		if err == nil && left == "" {
			return time.Since(begun), nil
		}
		if !sleep(ctx, 500*time.Millisecond) {
			return time.Since(begun), errors.Join(fmt.Errorf("not finished after %s: %s", patience, left), err)
		}
	}
}

func (f *fleet) unfinished(ctx context.Context) (string, error) {
	_, err := query[struct{ N int }](ctx, f.database.url("notifier"), `
		WITH hurried AS (
			UPDATE delivery SET next_attempt_at = CASE state WHEN 'retry' THEN now() ELSE updated_at + $1::interval END
			WHERE (state = 'retry' AND next_attempt_at > now() + interval '1 second'
			       OR state = 'unknown' AND next_attempt_at > updated_at + $1::interval + interval '1 second') AND NOT `+isParked+` RETURNING 1)
		SELECT count(*) FROM hurried`, ambiguityWait)
	if err != nil {
		return "", err
	}
	events, err := query[struct{ Logged, Outbox int }](ctx, f.database.url("messaging"), `
		SELECT (SELECT count(*) FROM event_log WHERE type IN ('message-submitted', 'reply-posted')), (SELECT count(*) FROM outbox)`)
	if err != nil {
		return "", err
	}
	ledger, err := query[struct{ Events, Open int }](ctx, f.database.url("notifier"), `
		SELECT count(*) FILTER (WHERE channel = 'EMAIL'), count(*) FILTER (WHERE state IN `+openStates+` AND NOT `+isParked+`) FROM delivery`)
	if err != nil {
		return "", err
	}
	counts, err := f.reportCounts(ctx)
	if err != nil {
		return "", err
	}
	if events[0].Outbox == 0 && ledger[0].Events >= events[0].Logged && ledger[0].Open == 0 && counts.Pending == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d events in the outbox, %d of %d in the ledger, %d deliveries open, %d reports pending",
		events[0].Outbox, ledger[0].Events, events[0].Logged, ledger[0].Open, counts.Pending), nil
}
