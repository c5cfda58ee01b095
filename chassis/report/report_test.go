package report_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// desk is a limiter with questions that are answered when the test says so.
type desk struct {
	*report.Limiter

	mu    sync.Mutex
	begun []string
}

func newDesk(t *testing.T, cfg report.Config) *desk {
	t.Helper()
	l, err := report.New(t.Name(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return &desk{Limiter: l}
}

// asked is what one caller got.
type asked struct {
	answer string
	err    error
	took   time.Duration
	done   chan struct{}
}

// ask asks in the background. The answer is that of the caller who made it be read.
func (d *desk) ask(ctx context.Context, q report.Question, answer <-chan struct{}) *asked {
	a := &asked{done: make(chan struct{})}
	begun := time.Now()
	go func() {
		defer close(a.done)
		a.answer, a.err = report.Read(ctx, d.Limiter, q, func(ctx context.Context) (string, error) {
			d.mu.Lock()
			d.begun = append(d.begun, q.Caller)
			d.mu.Unlock()
			select {
			case <-answer:
				return "for " + q.Caller, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		})
		a.took = time.Since(begun)
	}()
	synctest.Wait()
	return a
}

func (d *desk) reads() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.begun)
}

func (a *asked) got(t *testing.T, want string) {
	t.Helper()
	<-a.done
	if a.err != nil || a.answer != want {
		t.Errorf("got %q, %v, want %q", a.answer, a.err, want)
	}
}

// refused checks the refusal, when it came and the time that it gives.
func (a *asked) refused(t *testing.T, reason string, took, pause time.Duration) {
	t.Helper()
	<-a.done
	var refusal *rpc.Error
	if !errors.As(a.err, &refusal) || refusal.Code != codes.ResourceExhausted || refusal.Reason.String() != reason {
		t.Fatalf("got %q, %v, want %s", a.answer, a.err, reason)
	}
	for _, detail := range refusal.GRPCStatus().Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			if info.GetRetryDelay().AsDuration() != pause || a.took != took {
				t.Errorf("told to wait %s after %s, want %s after %s", info.GetRetryDelay().AsDuration(), a.took, pause, took)
			}
			return
		}
	}
	t.Error("not told when to come back")
}

func TestRead_EqualQuestionsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer := newDesk(t, report.Config{}), make(chan struct{})
		leaving, leave := context.WithCancel(t.Context())
		first := d.ask(leaving, report.Question{Caller: "first", Key: "k"}, answer)
		var others []*asked
		for i := range 20 {
			others = append(others, d.ask(t.Context(), report.Question{Caller: fmt.Sprint(i % 3), Key: "k"}, answer))
		}
		leave()
		if <-first.done; !errors.Is(first.err, context.Canceled) {
			t.Errorf("the first got %v", first.err)
		}
		close(answer)
		for _, other := range others {
			other.got(t, "for first")
		}
		if got := d.reads(); len(got) != 1 {
			t.Errorf("read for %v, want once", got)
		}
		// It was not to be kept.
		d.ask(t.Context(), report.Question{Caller: "later", Key: "k"}, answer).got(t, "for later")
	})
}

func TestRead_WithoutKeyForItsCallerAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer := newDesk(t, report.Config{}), make(chan struct{})
		a := d.ask(t.Context(), report.Question{Caller: "a", MaxAge: time.Hour}, answer)
		b := d.ask(t.Context(), report.Question{Caller: "b", MaxAge: time.Hour}, answer)
		close(answer)
		a.got(t, "for a")
		b.got(t, "for b")
	})
}

func TestRead_KeptForItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer := newDesk(t, report.Config{}), make(chan struct{})
		close(answer)
		q := func(caller, key string) report.Question {
			return report.Question{Caller: caller, Key: key, MaxAge: 10 * time.Second}
		}
		d.ask(t.Context(), q("a", "k"), answer).got(t, "for a")
		<-time.After(10*time.Second - 1)
		d.ask(t.Context(), q("b", "k"), answer).got(t, "for a")
		d.ask(t.Context(), q("b", "another"), answer).got(t, "for b")
		<-time.After(1)
		d.ask(t.Context(), q("b", "k"), answer).got(t, "for b")
	})
}

func TestRead_KeepsFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer := newDesk(t, report.Config{}), make(chan struct{})
		close(answer)
		const keys = 1000
		for round := range 2 {
			for i := range keys {
				q := report.Question{Caller: fmt.Sprint("round ", round), Key: fmt.Sprint(i), MaxAge: time.Hour}
				if _, err := report.Read(t.Context(), d.Limiter, q, func(context.Context) (int, error) { d.begun = append(d.begun, ""); return i, nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := 2*keys - len(d.begun); n > 256 {
			t.Errorf("%d answers were kept", n)
		}
	})
}

// One caller has one question read, whatever they ask, and others go on.
func TestRead_OnePerCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer, never := newDesk(t, report.Config{}), make(chan struct{}), make(chan struct{})
		close(answer)
		first := d.ask(t.Context(), report.Question{Caller: "greedy", Key: "0"}, never)
		var more []*asked
		for i := range 20 {
			more = append(more, d.ask(t.Context(), report.Question{Caller: "greedy", Key: fmt.Sprint(i + 1)}, never))
		}
		// An equal question of somebody else's does not share the turn that is waited for.
		d.ask(t.Context(), report.Question{Caller: "other", Key: "1"}, answer).got(t, "for other")
		for i, a := range more {
			took := 2 * time.Second
			if i >= 8 { // so many wait
				took = 0
			}
			a.refused(t, "REPORTS_BUSY", took, 2*time.Second)
		}
		first.refused(t, "REPORT_TOO_SLOW", 7*time.Second, 30*time.Second)
		if got := d.reads(); !slices.Equal(got, []string{"greedy", "other"}) {
			t.Errorf("read for %v", got)
		}
		d.ask(t.Context(), report.Question{Caller: "greedy", Key: "1"}, answer).got(t, "for greedy")
	})
}

// Who asks one question after the other does not keep the database busy: the next one
// waits four times as long as the last one took, a second at most.
func TestRead_RestsBetweenQuestions(t *testing.T) {
	t.Parallel()
	for took, rest := range map[time.Duration]time.Duration{100 * time.Millisecond: 400 * time.Millisecond, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t, report.Config{})
			answer := make(chan struct{})
			first := d.ask(t.Context(), report.Question{Caller: "claire"}, answer)
			<-time.After(took)
			close(answer)
			first.got(t, "for claire")
			second := d.ask(t.Context(), report.Question{Caller: "claire"}, answer)
			other := d.ask(t.Context(), report.Question{Caller: "marc"}, answer)
			other.got(t, "for marc")
			if other.took != 0 {
				t.Errorf("another waits %s", other.took)
			}
			second.got(t, "for claire")
			if second.took != rest {
				t.Errorf("after %s the next one waits %s, want %s", took, second.took, rest)
			}
		})
	}
}

// A caller who leaves does not give their turn back before what they asked is read.
func TestRead_LeavingGainsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, never := newDesk(t, report.Config{Max: 8}), make(chan struct{})
		for i := range 5 {
			ctx, leave := context.WithCancel(t.Context())
			d.ask(ctx, report.Question{Caller: "greedy", Key: fmt.Sprint(i)}, never)
			leave()
		}
		synctest.Wait()
		if got := d.reads(); len(got) != 1 {
			t.Errorf("%d are read, want 1", len(got))
		}
	})
}

func TestRead_FewAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer, never := newDesk(t, report.Config{Max: 2, Timeout: 3 * time.Second}), make(chan struct{}), make(chan struct{})
		close(answer)
		for _, caller := range []string{"a", "b"} {
			d.ask(t.Context(), report.Question{Caller: caller, Key: caller}, never)
		}
		early := d.ask(t.Context(), report.Question{Caller: "c", Key: "c"}, answer)
		patient := d.ask(t.Context(), report.Question{Caller: "d", Key: "d", Wait: time.Minute}, answer)
		early.refused(t, "REPORTS_BUSY", 2*time.Second, 2*time.Second)
		patient.got(t, "for d")
		if patient.took != 3*time.Second {
			t.Errorf("had a place after %s", patient.took)
		}
	})
}

// What was too slow would be again, and takes nobody's place until it is time.
func TestRead_TooSlowIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, answer, never := newDesk(t, report.Config{}), make(chan struct{}), make(chan struct{})
		close(answer)
		q := report.Question{Caller: "a", Key: "k"}
		d.ask(t.Context(), q, never).refused(t, "REPORT_TOO_SLOW", 7*time.Second, 30*time.Second)
		d.ask(t.Context(), q, answer).refused(t, "REPORT_TOO_SLOW", 0, 30*time.Second)
		<-time.After(30 * time.Second)
		d.ask(t.Context(), q, answer).got(t, "for a")
	})
}

// canceled is how PostgreSQL ends a statement that takes too long.
type canceled struct{ error }

func (canceled) SQLState() string { return "57014" }

func TestRead_Errors(t *testing.T) {
	t.Parallel()
	fault := errors.New("no such table")
	for name, row := range map[string]struct {
		read func(context.Context) (int, error)
		want error
	}{
		"an error":             {func(context.Context) (int, error) { return 0, fault }, fault},
		"a statement's end":    {func(context.Context) (int, error) { return 0, canceled{fault} }, &rpc.Error{Code: codes.ResourceExhausted, Reason: errorpb.ErrorReason_REPORT_TOO_SLOW}},
		"the caller's context": {func(ctx context.Context) (int, error) { _, has := ctx.Deadline(); return 0, fmt.Errorf("%t", !has) }, nil},
	} {
		d := newDesk(t, report.Config{})
		_, err := report.Read(t.Context(), d.Limiter, report.Question{Key: "k", MaxAge: time.Hour}, row.read)
		if row.want != nil && !errors.Is(err, row.want) || row.want == nil && err.Error() != "false" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	d := newDesk(t, report.Config{})
	q := report.Question{Caller: "a", Key: "k", MaxAge: time.Hour}
	if _, err := report.Read(t.Context(), d.Limiter, q, func(context.Context) (int, error) { panic("a text") }); err == nil {
		t.Error("a panic is no error")
	}
	// Neither its turn nor its error stays.
	if got, err := report.Read(t.Context(), d.Limiter, q, func(context.Context) (int, error) { return 7, nil }); got != 7 || err != nil {
		t.Errorf("afterwards: %d, %v", got, err)
	}
}

// A caller whose time is over is told to come back, before it is over elsewhere too.
func TestRead_CallersDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, never := newDesk(t, report.Config{}), make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d.ask(ctx, report.Question{Caller: "a", Key: "k"}, never).refused(t, "REPORTS_BUSY", time.Second, 2*time.Second)
	})
}

func TestEnter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, report.Config{Max: 2})
		enter := func(caller string) (func(), *asked) {
			begun := time.Now()
			leave, err := d.Enter(t.Context(), caller)
			a := &asked{err: err, took: time.Since(begun), done: make(chan struct{})}
			close(a.done)
			return leave, a
		}
		leave, a := enter("a")
		a.got(t, "")
		_, again := enter("a")
		again.refused(t, "REPORTS_BUSY", 2*time.Second, 2*time.Second)
		leaveB, b := enter("b")
		b.got(t, "")
		_, full := enter("c")
		full.refused(t, "REPORTS_BUSY", 2*time.Second, 2*time.Second)
		time.AfterFunc(time.Second, leave)
		leaveC, c := enter("c")
		c.got(t, "")
		leaveB()
		leaveC()
		leave, a = enter("a")
		a.got(t, "")
		leave()
	})
}

func TestClose_EndsWhatIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, report.Config{})
		a := d.ask(t.Context(), report.Question{Caller: "a", Key: "k"}, make(chan struct{}))
		d.Close()
		if <-a.done; !errors.Is(a.err, context.Canceled) || a.took != 0 {
			t.Errorf("got %v after %s", a.err, a.took)
		}
	})
}

// Each outcome is there before it happens, and counted.
func TestCounts(t *testing.T) { // not parallel: it sets the meter provider
	reader := metric.NewManualReader()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	d := newDesk(t, report.Config{})
	count := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		counts := make(map[string]int64)
		sum, _ := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64])
		for _, point := range sum.DataPoints {
			if kind, _ := point.Attributes.Value("kind"); kind.AsString() == t.Name() {
				outcome, _ := point.Attributes.Value("outcome")
				counts[outcome.AsString()] = point.Value
			}
		}
		return counts
	}
	if got := fmt.Sprint(count()); got != "map[answered:0 cached:0 failed:0 refused:0 shared:0]" {
		t.Errorf("before: %s", got)
	}
	for range 3 {
		if _, err := report.Read(t.Context(), d.Limiter, report.Question{Key: "k", MaxAge: time.Hour}, func(context.Context) (int, error) { return 1, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(count()); got != "map[answered:1 cached:2 failed:0 refused:0 shared:0]" {
		t.Errorf("after: %s", got)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, sound := range []report.Config{{}, {Max: 64, Timeout: time.Second, MaxAge: time.Hour}} {
		if err := sound.Validate(); err != nil {
			t.Errorf("%+v: %v", sound, err)
		}
	}
	for _, faulty := range []report.Config{{Max: -1}, {Max: 65}, {Timeout: -1}, {MaxAge: -1}} {
		if faulty.Validate() == nil {
			t.Errorf("%+v is accepted", faulty)
		}
	}
}
