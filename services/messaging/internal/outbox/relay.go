package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
)

const (
	// relayBatch is how many events one transaction takes.
	relayBatch = 500
	// probeBatch is how many of the newest show whether anything passes.
	probeBatch = 20
	// publishTimeout bounds how long rows stay locked while the broker is slow, and
	// passTimeout how long one transaction may take, with a database that is silent.
	publishTimeout = 5 * time.Second
	passTimeout    = 15 * time.Second
	// relayPause is the wait after a fault, doubled up to relayPauseMax.
	relayPause    = 100 * time.Millisecond
	relayPauseMax = 5 * time.Second
	// wholeEvery is how often the whole outbox is looked at. Else a pass begins at events
	// made lateness before the last one: above what a commit takes, and clocks differ by.
	wholeEvery = 10 * time.Second
	lateness   = time.Minute
)

// Relay moves committed events from the outbox to the broker.
//
// What is promised: every event that was committed is acknowledged by the broker
// at least once, in no particular order, for as long as the outbox exists. The
// outbox row is deleted only after the acknowledgement. Events that the broker refuses
// slow the others by no more than a set's delay (see refusals).
//
// How: any number of relays work side by side without a leader. Each locks a set
// of rows that no other has (FOR UPDATE SKIP LOCKED), publishes them with the
// event's id as message id, deletes those that were acknowledged and commits. A
// commit of this process wakes it at once; a poll finds what other processes
// left behind. While the broker takes nothing at all, everything stays where it is.
//
// Rows that are deleted stay in the table while somebody holds an older snapshot (a dump, a
// replication slot), and lie before those that wait. So a pass begins where the last events
// were, and everything is looked at every wholeEvery, for what was committed late.
//
// When it breaks: a process that dies between the acknowledgement and its commit
// publishes again. Within the stream's duplicate window the broker drops the
// second; beyond it, consumers do, by the event's id. An acknowledgement that the
// broker then loses (a disk, a wiped store) is not noticed here: whoever needs
// every event compares with the event log.
type Relay struct {
	store *Store
	bus   *bus.Bus
	poll  time.Duration
	// domain is what types and sources of events begin with.
	domain  string
	woken   chan struct{}
	refused *refusals

	// floor is where a pass begins: nothing was below when everything was last looked at,
	// at wholeAt. While something is left where it was, it is zero.
	floor   atomic.Pointer[uuid.UUID]
	wholeAt time.Time
}

// Begin is the id from which on a pass looks. Whoever wants to know what waits may begin
// there too: what is below is found ten seconds later.
func (r *Relay) Begin() uuid.UUID {
	if from := r.floor.Load(); from != nil {
		return *from
	}
	return uuid.Nil
}

// Wake has the relay look at the outbox now. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Run relays until ctx is done. The set in hand is finished: its time is bounded.
func (r *Relay) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { r.retry(ctx) })
	ticker := time.NewTicker(r.poll)
	defer ticker.Stop()
	pause := relayPause
	for {
		if err := r.drain(ctx); err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "relaying events; they stay in the outbox", "retry_in", pause.String(), "error", err)
			if !chassis.Sleep(ctx, pause) {
				return nil
			}
			pause = min(2*pause, relayPauseMax)
			continue
		}
		pause = relayPause
		select {
		case <-ctx.Done():
			return nil
		case <-r.woken:
		case <-ticker.C:
		}
	}
}

// drain publishes set after set until the outbox is empty.
func (r *Relay) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		from, begun := r.Begin(), time.Now()
		whole := begun.Sub(r.wholeAt) >= wholeEvery
		if whole {
			from = uuid.Nil
		}
		var last uuid.UUID
		pass, cancel := context.WithTimeout(context.WithoutCancel(ctx), passTimeout)
		taken, result, err := r.store.relay(pass, from, relayBatch, func(rows []Row) verdict {
			if last == uuid.Nil { // a second set is of the newest, with others between
				last = rows[len(rows)-1].ID
			}
			return r.publish(pass, rows)
		})
		cancel()
		if err != nil {
			return err
		}
		r.refused.learn(result)
		if len(result.refused) > 0 {
			slog.WarnContext(ctx, "the broker refuses events and takes others", "refused", len(result.refused), "reason", result.refused[0].reason)
		}
		if result.fault != nil {
			r.wholeAt = time.Time{} // some stay where they are
			if whole {
				r.floor.Store(nil)
			}
			return result.fault
		}
		if whole {
			r.wholeAt = begun
		}
		if last != uuid.Nil {
			r.floor.Store(new(uuidv7.First(uuidv7.Time(last).Add(-lateness))))
		}
		if gone := len(result.acked) + len(result.refused); taken < relayBatch && gone >= taken {
			return nil
		}
	}
	return nil
}

// retry tries refused events again until ctx is done. It has its own pace: what is
// refused once more must not hold up what passes.
func (r *Relay) retry(ctx context.Context) {
	for chassis.Sleep(ctx, refusedPoll) {
		for ctx.Err() == nil {
			pass, cancel := context.WithTimeout(context.WithoutCancel(ctx), passTimeout)
			result, err := r.store.retry(pass, r.refused.quiet, func(rows []Refused) verdict {
				events := make([]bus.Event, len(rows))
				for i, row := range rows {
					events[i] = row.event(r.domain)
				}
				pass, cancel := context.WithTimeout(pass, refusedTimeout)
				defer cancel()
				result := r.offer(pass, events)
				r.refused.learn(result)
				return result
			})
			cancel()
			if err != nil && ctx.Err() == nil {
				slog.WarnContext(ctx, "trying refused events again", "error", err)
			}
			if len(result.acked) > 0 {
				slog.InfoContext(ctx, "the broker takes events that it refused", "events", len(result.acked))
			}
			if err != nil || len(result.acked) == 0 {
				break
			}
		}
	}
}

// publish publishes a set. Events of subjects that are known to be refused are not tried
// here.
func (r *Relay) publish(ctx context.Context, rows []Row) verdict {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	result := verdict{subjects: make(map[string]bool)}
	var events []bus.Event
	for _, row := range rows {
		event := row.event(r.domain)
		if reason := r.refused.reason(event.Subject); reason != "" {
			result.refused = append(result.refused, refusal{id: row.ID, reason: reason, subject: event.Subject, known: true})
		} else {
			events = append(events, event)
		}
	}
	return result.add(r.offer(ctx, events))
}

// offer publishes events and returns what became of them.
func (r *Relay) offer(ctx context.Context, events []bus.Event) verdict {
	result := verdict{subjects: make(map[string]bool)}
	for i, err := range r.bus.Publish(ctx, events) {
		id := uuid.MustParse(events[i].ID)
		if err == nil {
			result.acked = append(result.acked, id)
			result.subjects[events[i].Subject] = true
			continue
		}
		if reason, own := bus.Refusal(err); own {
			result.refused = append(result.refused, refusal{id: id, reason: reason, subject: events[i].Subject})
		} else if result.fault == nil {
			result.fault = err
		}
	}
	return result
}

// NewRelay returns a relay to a bus. Types and sources of events begin with the domain; the
// outbox is looked at every so often, beside when [Relay.Wake] says so.
func NewRelay(s *Store, b *bus.Bus, domain string, poll time.Duration) *Relay {
	return &Relay{store: s, bus: b, domain: domain, poll: poll, woken: make(chan struct{}, 1), refused: newRefusals()}
}

func idsOf(rows []Row) []uuid.UUID {
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids
}

// verdict is what became of a set of events.
type verdict struct {
	// acked are those that the broker has acknowledged.
	acked []uuid.UUID
	// refused are those that it does not take, for what they are.
	refused []refusal
	// subjects are those of acknowledged events.
	subjects map[string]bool
	// fault is the first of those that stay where they are, for what the broker is.
	fault error
}

// add is what became of both sets.
func (v verdict) add(w verdict) verdict {
	v.acked, v.refused = append(v.acked, w.acked...), append(v.refused, w.refused...)
	if v.subjects == nil {
		v.subjects = make(map[string]bool)
	}
	maps.Copy(v.subjects, w.subjects)
	if v.fault == nil {
		v.fault = w.fault
	}
	return v
}

// Row is an event with the time of the transaction that appended it.
type Row struct {
	Event
	CreatedAt time.Time `db:"created_at"`
}

// event is the event as it is published by an installation of that domain.
func (row Row) event(domain string) bus.Event {
	return bus.Event{
		ID: row.ID.String(), Type: eventspb.CEType(domain, row.Type), Source: "//" + domain + "/messaging", Time: row.CreatedAt,
		Subject: eventspb.Subject(row.Type, row.Caisse), Entity: row.ConversationID.String(),
		Schema: eventspb.Schema(row.Type), Data: row.Payload, TraceParent: row.Trace,
	}
}

var columns = postgres.Columns[Row]()

// relay gives a set of unpublished events, from an id on, to publish and deletes those that
// were acknowledged. The rows stay locked meanwhile, so two relays never publish the same
// event at once; publish must be bounded in time. It returns how many rows were taken.
//
// Those that are refused while others pass go to the refused ones. Where the whole set is
// refused, some of the newest events show whether others pass.
func (s *Store) relay(ctx context.Context, from uuid.UUID, limit int, publish func([]Row) verdict) (taken int, result verdict, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := postgres.Many[Row](ctx, tx, "reading the outbox",
			`SELECT `+columns+` FROM outbox WHERE id >= $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED`, from, limit)
		taken = len(rows)
		if err != nil || taken == 0 {
			return err
		}
		result = publish(rows)
		if len(result.acked) == 0 && len(result.refused) > 0 && taken == limit {
			rows, err := postgres.Many[Row](ctx, tx, "reading the newest of the outbox",
				`SELECT `+columns+` FROM outbox WHERE id <> ALL($1) ORDER BY id DESC LIMIT $2 FOR UPDATE SKIP LOCKED`, idsOf(rows), probeBatch)
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				result = result.add(publish(rows))
			}
		}
		return s.settle(ctx, tx, &result)
	})
	return taken, result, err
}

// settle takes out of the outbox what it is rid of.
func (s *Store) settle(ctx context.Context, tx pgx.Tx, result *verdict) error {
	if len(result.acked) == 0 {
		// Nothing passes: whose fault that is, is not known now.
		if result.fault == nil && slices.ContainsFunc(result.refused, func(r refusal) bool { return !r.known }) {
			result.fault = errNothingPasses
		}
		result.refused = slices.DeleteFunc(result.refused, func(r refusal) bool { return !r.known })
	}
	if len(result.acked) > 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM outbox WHERE id = ANY($1)`, result.acked); err != nil {
			return fmt.Errorf("deleting published events: %w", err)
		}
	}
	return refuse(ctx, tx, result.refused)
}

// errNothingPasses: each event was refused for itself, and none was taken.
var errNothingPasses = errors.New("the broker takes none of the events")
