// Package report bounds expensive queries: statistics, operators' lists, exports.
// They deserve an answer, but must never keep a member's message from being stored.
//
// # What is promised
//
// A [Limiter] answers a few questions at once over all callers, and one of each caller, who
// pauses between two for longer than the first took (at most a second); others wait for at
// most two seconds, in the order in which they came. A caller that has waited in vain, or
// asks for more than can be read in the time of one question, gets RESOURCE_EXHAUSTED
// (REPORTS_BUSY, REPORT_TOO_SLOW) with google.rpc.RetryInfo. All this takes no longer than
// that time and those two seconds, which is less than a call's deadline.
//
// Equal questions at the same time are read once, and the answer is reused for equal
// questions within their MaxAge. Questions are equal if their keys are: a key must contain
// all that the answer depends on, above all the caller's rights. A question without a key is
// not shared.
//
// # How
//
// A question is read by a goroutine of its own under a deadline of its own. A caller
// who leaves therefore takes nothing away from the others, and gains nothing: what was
// begun counts as theirs until it ends, so that asking and leaving in turns gets no more
// read than asking and waiting. A caller that varies the question to get past cached answers
// is stopped by the bound for one caller.
//
// The database does the rest: such queries use a pool of their own with as many connections
// (see postgres.Reports), so that nothing else waits for one.
//
// # When it breaks
//
// An error goes to all who wait for that answer and is not cached, except for
// REPORT_TOO_SLOW, which is cached for as long as the caller is asked to wait: the next
// try would take as long again. A panic is an error like others. Answers are cached in
// this process alone, so two replicas may give figures of different moments.
package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Config is how much may be read at once. Its zero value takes the defaults, but for
// MaxAge.
type Config struct {
	// Max is how many reports are read at once, 1 to 64; 0 takes 2. Each takes a
	// connection and a core of the database.
	Max int `env:"MAX" envDefault:"2"`
	// Timeout is the most that one may take to be read; 0 takes 7s. With the two seconds
	// that it may wait for its turn, it must be below what the gateway allows a call.
	Timeout time.Duration `env:"TIMEOUT" envDefault:"7s"`
	// MaxAge is how old a cached answer to an equal question may be. 0 caches none.
	MaxAge time.Duration `env:"MAX_AGE" envDefault:"10s"`
}

const (
	maxMax     = 64
	defaultMax = 2
	// defaultTimeout is for configurations that were not read from the environment.
	defaultTimeout = 7 * time.Second
	// wait is how long a question waits for its turn among its caller's and for a place
	// among all.
	wait = 2 * time.Second
	// waitersMost is how many questions of one caller wait.
	waitersMost = 8
	// restShare is how many times as long as a question took its caller's next one waits,
	// and restMost bounds that to less than wait.
	restShare = 4
	restMost  = time.Second
	// slowPause is how long to wait before asking again what could not be read in time.
	slowPause = 30 * time.Second
	// keptMost bounds the answers that are cached.
	keptMost = 256
)

// Validate reports all faults that types do not show.
func (c Config) Validate() error {
	var faults []error
	if c.Max < 0 || c.Max > maxMax {
		faults = append(faults, fmt.Errorf("REPORTS_MAX must be 1 to %d", maxMax))
	}
	if c.Timeout < 0 {
		faults = append(faults, errors.New("REPORTS_TIMEOUT must be more than 0"))
	}
	if c.MaxAge < 0 {
		faults = append(faults, errors.New("REPORTS_MAX_AGE must not be less than 0"))
	}
	return errors.Join(faults...)
}

// WithDefaults fills in what is 0.
func (c Config) WithDefaults() Config {
	if c.Max == 0 {
		c.Max = defaultMax
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

// Refusals of a limiter.
var (
	errBusy = &rpc.Error{
		Code: codes.ResourceExhausted, Reason: errorpb.ErrorReason_REPORTS_BUSY, RetryAfter: wait,
		Message: "too much of this kind is being read, for you or for all; ask again after the time given",
	}
	errSlow = &rpc.Error{
		Code: codes.ResourceExhausted, Reason: errorpb.ErrorReason_REPORT_TOO_SLOW, RetryAfter: slowPause,
		Message: "this takes longer than it may; ask for less, such as fewer days or one queue, or after the time given",
	}
)

// Limiter bounds one kind of questions.
type Limiter struct {
	timeout time.Duration
	places  *semaphore.Weighted
	asked   metric.Int64Counter
	kind    attribute.KeyValue

	// life ends with Close.
	life    context.Context //nolint:containedctx // of what outlives each call
	end     context.CancelFunc
	reading sync.WaitGroup

	mu    sync.Mutex
	turns map[string]*turn
	// readings are those under way, and those that are cached.
	readings map[string]*reading
}

// turn is held by one question of a caller at a time.
type turn struct {
	taken *semaphore.Weighted
	// users counts the question that holds it and those that wait for it.
	users int
}

// reading is one answer, being read or cached.
type reading struct {
	done chan struct{}
	// value and err are there when done is closed.
	value any
	err   error
	// until is when it is forgotten; under the limiter's lock.
	until time.Time
}

// outcomes are the values of the label outcome.
var outcomes = []string{"answered", "shared", "cached", "refused", "failed"}

// New returns a limiter that counts its questions under a kind (messagerie.reports).
// Close it at the end.
func New(kind string, cfg Config) (*Limiter, error) {
	cfg = cfg.WithDefaults()
	asked, err := otel.Meter("report").Int64Counter("messagerie.reports",
		metric.WithDescription("Questions that read much, by kind and outcome (answered, shared, cached, refused, failed)."))
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	l := &Limiter{
		timeout: cfg.Timeout, places: semaphore.NewWeighted(int64(cfg.Max)), asked: asked, kind: attribute.String("kind", kind),
		turns: make(map[string]*turn), readings: make(map[string]*reading),
	}
	l.life, l.end = context.WithCancel(context.Background())
	// Prometheus's increase() does not see the event with which a series begins.
	for _, outcome := range outcomes {
		l.count(l.life, outcome, 0)
	}
	return l, nil
}

// Close ends what is being read and waits for it.
func (l *Limiter) Close() {
	l.end()
	l.reading.Wait()
}

func (l *Limiter) count(ctx context.Context, outcome string, n int64) {
	l.asked.Add(ctx, n, metric.WithAttributes(l.kind, attribute.String("outcome", outcome)))
}

// Question is what is asked of a limiter.
type Question struct {
	// Caller is who may have one question at a time; empty for unknown callers, whom only
	// the bound for all limits.
	Caller string
	// Key says what is asked, with all that the answer depends on. Empty: the answer is
	// for this call alone.
	Key string
	// MaxAge is how old a cached answer may be; 0 caches none.
	MaxAge time.Duration
	// Wait is how long to wait for a place; 0 takes the two seconds.
	Wait time.Duration
}

// Read answers a question by calling read, unless an equal one is being read or is
// cached. Callers share the answer and must not change it. The context that read gets
// has the values of one of the callers, but not its cancellation.
func Read[T any](ctx context.Context, l *Limiter, q Question, read func(context.Context) (T, error)) (T, error) {
	value, err := l.answer(ctx, q, func(ctx context.Context) (any, error) { return read(ctx) })
	answer, _ := value.(T)
	return answer, err
}

func (l *Limiter) answer(ctx context.Context, q Question, read func(context.Context) (any, error)) (any, error) {
	if r, outcome := l.find(q.Key); r != nil {
		return l.await(ctx, r, outcome)
	}
	until := time.Now().Add(q.wait())
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	leave, err := l.take(waiting, q.Caller)
	if err != nil {
		return nil, l.refuse(ctx)
	}
	r, outcome := l.begin(ctx, q, until, read, leave)
	if outcome != "answered" {
		leave() // somebody has asked the same meanwhile
	}
	return l.await(ctx, r, outcome)
}

func (q Question) wait() time.Duration {
	if q.Wait > 0 {
		return q.Wait
	}
	return wait
}

// find returns the answer to an equal question, if one is under way or kept.
func (l *Limiter) find(key string) (r *reading, outcome string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.equal(key)
}

// equal is find under the lock. It finds only questions that hold their caller's turn, so
// that nobody shares the refusal of a caller who asks too much.
func (l *Limiter) equal(key string) (*reading, string) {
	r := l.readings[key]
	if r == nil {
		return nil, ""
	}
	if !r.over() {
		return r, "shared"
	}
	if time.Now().Before(r.until) {
		return r, "cached"
	}
	delete(l.readings, key)
	return nil, ""
}

func (r *reading) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// begin starts reading, unless somebody else has begun since.
func (l *Limiter) begin(ctx context.Context, q Question, until time.Time, read func(context.Context) (any, error), leave func()) (*reading, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, outcome := l.equal(q.Key); r != nil {
		return r, outcome
	}
	r := &reading{done: make(chan struct{})}
	if q.Key != "" {
		l.readings[q.Key] = r
	}
	l.reading.Go(func() {
		defer leave()
		var took time.Duration
		l.finish(q, r, func() (any, error) { return l.placed(ctx, until, read, &took) })
		l.rest(q, took)
	})
	return r, "answered"
}

// rest keeps the caller's turn for a while after an answer, depending on how long it took: a
// caller that asks one question after the other uses at most a fifth of a core of the
// database, if each takes less than a quarter of a second.
func (l *Limiter) rest(q Question, took time.Duration) {
	if q.Caller == "" {
		return
	}
	timer := time.NewTimer(min(restShare*took, restMost))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.life.Done():
	}
}

// placed waits for a place and reads. It outlives its caller.
func (l *Limiter) placed(ctx context.Context, until time.Time, read func(context.Context) (any, error), took *time.Duration) (any, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()
	waiting, cancelWait := context.WithDeadline(ctx, until)
	defer cancelWait()
	if l.places.Acquire(waiting, 1) != nil {
		return nil, errBusy
	}
	defer l.places.Release(1)
	ctx, cancelRead := context.WithTimeout(ctx, l.timeout)
	defer cancelRead()
	begun := time.Now()
	value, err := read(ctx)
	*took = time.Since(begun)
	if err != nil && tooSlow(ctx, err) {
		// Logged here: as the refusal's cause, it would be logged for each caller.
		slog.WarnContext(ctx, "a report was not read in its time", "kind", l.kind.Value.AsString(), "error", err)
		return nil, errSlow
	}
	return value, err
}

// tooSlow reports whether reading ended because of its deadline, here or at the
// database (57014, query_canceled).
func tooSlow(ctx context.Context, err error) bool {
	var fault interface{ SQLState() string }
	return errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.As(err, &fault) && fault.SQLState() == "57014"
}

// finish reads, and hands the answer to those who wait for it.
func (l *Limiter) finish(q Question, r *reading, read func() (any, error)) {
	var value any
	err := errors.New("reading a report has panicked")
	defer func() {
		if fault := recover(); fault != nil {
			// By its type alone: its value may hold what was read.
			slog.Error("panic", "type", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		r.value, r.err = value, err
		l.keep(q, r)
		close(r.done)
	}()
	value, err = read()
}

// keep caches an answer for its time, or forgets it.
func (l *Limiter) keep(q Question, r *reading) {
	if q.Key == "" {
		return
	}
	life := q.MaxAge
	if r.err != nil {
		life = 0
	}
	if errors.Is(r.err, errSlow) {
		life = slowPause
	}
	if life <= 0 {
		delete(l.readings, q.Key)
		return
	}
	r.until = time.Now().Add(life)
	l.makeRoom()
}

// makeRoom forgets answers that are out of date and, while there are more than may be
// cached, any that are not under way.
func (l *Limiter) makeRoom() {
	if len(l.readings) <= keptMost {
		return
	}
	now := time.Now()
	for key, r := range l.readings {
		if r.over() && (len(l.readings) > keptMost || now.After(r.until)) {
			delete(l.readings, key)
		}
	}
}

// await waits for an answer as long as its caller does.
func (l *Limiter) await(ctx context.Context, r *reading, outcome string) (any, error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, l.left(ctx)
	}
	var refusal *rpc.Error
	switch {
	case errors.As(r.err, &refusal) && refusal.Code == codes.ResourceExhausted:
		outcome = "refused"
	case r.err != nil:
		outcome = "failed"
	}
	l.count(ctx, outcome, 1)
	return r.value, r.err
}

// refuse is the answer to a caller that did not get a turn or a place.
func (l *Limiter) refuse(ctx context.Context) error {
	if ctx.Err() != nil {
		return l.left(ctx)
	}
	l.count(ctx, "refused", 1)
	return errBusy
}

// left is the answer to a caller that no longer waits: one whose time is over is asked to
// come back, one that went away gets the context's error.
func (l *Limiter) left(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.count(ctx, "refused", 1)
		return errBusy
	}
	return ctx.Err()
}

// Enter is for work that is not a question with an answer: it takes the caller's turn and a
// place, which are the caller's until leave is called. It waits for at most two seconds.
func (l *Limiter) Enter(ctx context.Context, caller string) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	release, err := l.take(waiting, caller)
	if err != nil {
		return nil, l.refuse(ctx)
	}
	if l.places.Acquire(waiting, 1) != nil {
		release()
		return nil, l.refuse(ctx)
	}
	l.count(ctx, "answered", 1)
	return func() {
		l.places.Release(1)
		release()
	}, nil
}

// take waits for the caller's turn. leave passes it on.
func (l *Limiter) take(ctx context.Context, caller string) (leave func(), err error) {
	if caller == "" {
		return func() {}, nil
	}
	l.mu.Lock()
	t := l.turns[caller]
	if t == nil {
		t = &turn{taken: semaphore.NewWeighted(1)}
		l.turns[caller] = t
	}
	if t.users > waitersMost {
		l.mu.Unlock()
		return nil, errBusy
	}
	t.users++
	l.mu.Unlock()
	if err := t.taken.Acquire(ctx, 1); err != nil {
		l.quit(caller, t)
		return nil, err
	}
	return func() {
		t.taken.Release(1)
		l.quit(caller, t)
	}, nil
}

func (l *Limiter) quit(caller string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.turns, caller)
	}
}
