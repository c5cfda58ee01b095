// Package watch notifies members and agents who watch conversations that something has
// changed, so that they read again. It has hints, which are not stored, and tickets, with
// which a browser's EventSource watches without a token.
//
// [Hub] documents what is promised for changes that have an event, [Hints] for those that
// have none.
package watch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
)

const (
	// life is how long one watch lasts, less than [rpc.StreamLife]; the caller then
	// opens another, with a token that is still good.
	life = 10 * time.Minute
	// most is how many watches one caller has open at this process.
	most = 16
	// backlog is how many changes a slow caller may be behind; beyond, it is
	// notified that any conversation may have changed.
	backlog = 16
	// blindPoll is how often the hub checks that events flow, and blindNotify how often
	// callers are notified that any conversation may have changed while they do not.
	blindPoll   = 10 * time.Second
	blindNotify = 30 * time.Second
	// staleAfter is how long an event may wait in the outbox before events pass for not
	// flowing.
	staleAfter = 10 * time.Second
	// ownersTimeout bounds the query for whose conversations have changed: a database
	// that does not answer must not hold up hints.
	ownersTimeout = 5 * time.Second
)

// ErrTooMany is the refusal of more watches than one caller may have open.
var ErrTooMany = rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_WATCHES_TOO_MANY, "too many watches are open; end one first")

// Hub notifies the watches that are open at this process of what has changed at any process.
//
// What is promised: a hint soon after every change that somebody makes. Two changes happen by
// themselves and cause no hint: a claim that lapses, whose time was given with the claim, and
// the deletion of a conversation that is past its retention. How: every process reads the
// stream's events as they are stored, without acknowledgement, receives [Hints] for changes
// that have no event, and looks up whose conversations they are about, as long as anybody
// watches here. When it breaks: hints are lost with the broker's connection, while events
// wait in the outbox because the broker takes none (full, without a quorum, a subject
// denied), and while this process's own hints do not come back. Then every watch is notified
// that any conversation may have changed, after half a minute at most and twice a minute from
// then on, and once when events flow again.
type Hub struct {
	pool   *pgxpool.Pool
	events *bus.Bus
	hints  *Hints
	// begin is where the relay begins to look for events.
	begin func() uuid.UUID
	// pending are changes of which no watch was notified yet.
	pending chan Happening
	done    chan struct{}

	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

// Run listens until ctx is done, and then ends every watch.
func (h *Hub) Run(ctx context.Context) error {
	defer close(h.done)
	listening, end := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer end()
	group.Go(func() { h.events.Listen(listening, eventspb.Everything, h.notifyAll, h.receive) })
	group.Go(func() {
		h.hints.subscribe(listening, h.notifyAll, func(hint Hint) { h.take(Happening{Conversation: hint.Conversation, hint: hint}) })
	})
	ticker := time.NewTicker(blindPoll)
	defer ticker.Stop()
	var notified time.Time // when the watches were last notified because the hub is blind; zero: it is not
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-h.pending:
			h.notify(ctx, h.gather(first))
		case <-ticker.C:
			blind := h.blind(ctx)
			if blind && time.Since(notified) >= blindNotify || !blind && !notified.IsZero() {
				h.notifyAll()
				notified = time.Now()
			}
			if !blind {
				notified = time.Time{}
			}
		}
	}
}

// blind reports whether events do not reach this process as they should: what is
// connected is not always what works.
func (h *Hub) blind(ctx context.Context) bool {
	if !h.events.Connected() {
		return true
	}
	if !h.watched() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, ownersTimeout)
	defer cancel()
	stale, err := outbox.New(h.pool).Stale(ctx, h.begin(), staleAfter)
	return !h.hints.echoReturned() || stale || err != nil
}

// receive takes an event from the broker.
func (h *Hub) receive(msg bus.Msg) {
	if id, err := uuid.Parse(msg.Entity); err == nil {
		h.take(Happening{Conversation: id, Opened: eventspb.TypeOf(msg.Type) == eventspb.TypeMessageSubmitted})
	}
}

// take queues a change. When too many come at once, all watches are notified that any
// conversation may have changed.
func (h *Hub) take(happened Happening) {
	if !h.watched() {
		return
	}
	select {
	case h.pending <- happened:
	default:
		h.notifyAll()
	}
}

func (h *Hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

// gather takes what else is pending, without waiting.
func (h *Hub) gather(first Happening) []Happening {
	batch := []Happening{first}
	for len(batch) < cap(h.pending) {
		select {
		case next := <-h.pending:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// notify looks up whose conversations have changed and notifies their watches.
func (h *Hub) notify(ctx context.Context, batch []Happening) {
	ids := make([]uuid.UUID, len(batch))
	for i, happened := range batch {
		ids[i] = happened.Conversation
	}
	querying, cancel := context.WithTimeout(ctx, ownersTimeout)
	owners, err := h.owners(querying, ids)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			slog.WarnContext(ctx, "looking up owners; all watches are notified", "error", err)
		}
		h.notifyAll()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, happened := range batch {
		var owner *conversation.Row
		if row, ok := owners[happened.Conversation]; ok {
			owner = &row
		}
		for w := range h.watchers {
			if w.concerns(happened, owner) {
				w.offer(happened)
			}
		}
	}
}

// notifyAll notifies every watch that any conversation may have changed.
func (h *Hub) notifyAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.offer(Happening{})
	}
}

// open begins a watch; call end when it is over.
func (h *Hub) open(caller string, sc conversation.Scope) (w *watcher, end func(), err error) {
	w = &watcher{caller, sc, make(chan Happening, backlog)}
	h.mu.Lock()
	defer h.mu.Unlock()
	open := 0
	for other := range h.watchers {
		if other.caller == caller {
			open++
		}
	}
	if open >= most {
		return nil, nil, ErrTooMany
	}
	h.watchers[w] = struct{}{}
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}, nil
}

// Watch calls send at once and at each hint, until the caller leaves, the watch's
// time is over or the process drains.
func (h *Hub) Watch(ctx context.Context, caller string, sc conversation.Scope, send func(Happening) error) error {
	w, end, err := h.open(caller, sc)
	if err != nil {
		return err
	}
	defer end()
	over := time.NewTimer(life)
	defer over.Stop()
	if err := send(Happening{}); err != nil {
		return err
	}
	for {
		select {
		case happened := <-w.ch:
			if err := send(happened); err != nil {
				return err
			}
		case <-over.C:
			return nil
		case <-h.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// owners returns the fields of conversations that decide who may see them.
func (h *Hub) owners(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]conversation.Row, error) {
	rows, err := postgres.Many[struct {
		ID       uuid.UUID `db:"id"`
		MemberID string    `db:"member_id"`
		Caisse   string    `db:"caisse"`
		Queue    string    `db:"queue"`
	}](ctx, h.pool, "reading who may see conversations", `SELECT id, member_id, caisse, queue FROM conversation WHERE id = ANY($1)`, ids)
	owners := make(map[uuid.UUID]conversation.Row, len(rows))
	for _, row := range rows {
		owners[row.ID] = conversation.Row{Opened: conversation.Opened{ID: row.ID, MemberID: row.MemberID, Caisse: row.Caisse, Queue: row.Queue}}
	}
	return owners, err
}

// NewHub returns a hub for a bus and its hints. begin is where the relay begins to look for
// events.
func NewHub(pool *pgxpool.Pool, events *bus.Bus, hints *Hints, begin func() uuid.UUID) *Hub {
	return &Hub{pool: pool, events: events, hints: hints, begin: begin, pending: make(chan Happening, 1024), done: make(chan struct{}), watchers: make(map[*watcher]struct{})}
}

// Happening is an event, or a change without one, as far as a watch is concerned.
type Happening struct {
	Conversation uuid.UUID // zero: any may have changed
	Opened       bool
	// hint is the hint by which it arrived, empty for an event.
	hint Hint
}

// ID is that of the conversation; empty if any may have changed.
func (happened Happening) ID() string {
	if happened.Conversation == uuid.Nil {
		return ""
	}
	return happened.Conversation.String()
}

// watcher is one open watch.
type watcher struct {
	caller string
	scope  conversation.Scope
	ch     chan Happening
}

// concerns reports whether a watch is notified; owner is nil where the conversation is not
// found.
func (w *watcher) concerns(happened Happening, owner *conversation.Row) bool {
	member := w.scope.Member != ""
	switch hint := happened.hint; {
	case hint.Mark != nil:
		return member && *MarkOf(w.scope.Member) == *hint.Mark
	case hint.Caisse != "":
		return !member && w.scope.Covers(&conversation.Row{Opened: conversation.Opened{Caisse: hint.Caisse, Queue: hint.Queue}})
	case happened.Conversation == uuid.Nil:
		return true
	default:
		return owner != nil && w.scope.Covers(owner) && (!member || !hint.Agents)
	}
}

// offer hands a hint over without waiting. Of a full backlog, one entry becomes the
// hint that any may have changed.
func (w *watcher) offer(happened Happening) {
	select {
	case w.ch <- happened:
		return
	default:
	}
	select {
	case <-w.ch:
	default:
	}
	select {
	case w.ch <- Happening{}:
	default:
	}
}
