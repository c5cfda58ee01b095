package batch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/batch"
)

// scribe is a handler that notes its batches and answers each number with its double.
type scribe struct {
	mu      sync.Mutex
	batches [][]int
	// hold is how long a batch takes; bad are refused with errBad.
	hold time.Duration
	bad  []int
}

var errBad = errors.New("bad item")

func (s *scribe) do(ctx context.Context, items []int) ([]batch.Result[int], error) {
	s.mu.Lock()
	s.batches = append(s.batches, slices.Clone(items))
	s.mu.Unlock()
	if s.hold > 0 {
		select {
		case <-time.After(s.hold):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	results := make([]batch.Result[int], len(items))
	for i, item := range items {
		if slices.Contains(s.bad, item) {
			return nil, fmt.Errorf("doing %d: %w", item, errBad)
		}
		results[i].Value = 2 * item
	}
	return results, nil
}

// group is a group of a scribe, and what runs and ends it.
func group(t *testing.T, config batch.Config[int, int]) (g *batch.Group[int, int], run, end func()) {
	t.Helper()
	g = batch.New(config)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	run = func() { go func() { defer close(ended); g.Run(ctx) }() }
	return g, run, func() { cancel(); <-ended }
}

// enqueue hands in numbers before the group runs.
func enqueue(t *testing.T, g *batch.Group[int, int], items ...int) (outcomes []func() (int, error)) {
	t.Helper()
	for _, item := range items {
		await, err := g.Enqueue(t.Context(), item)
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, await)
	}
	return outcomes
}

func numbers(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What waits is done together, up to the bound of a batch or the weight that reaches it.
func TestSubmit_Coalesces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		most   int
		weight func(int) int
		want   [][]int
	}{
		"by number":            {3, nil, [][]int{{0, 1, 2}, {3, 4, 5}, {6}}},
		"alone":                {1, nil, [][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}}},
		"all":                  {7, nil, [][]int{{0, 1, 2, 3, 4, 5, 6}}},
		"by weight":            {6, func(n int) int { return n }, [][]int{{0, 1, 2, 3}, {4, 5}, {6}}},
		"heavier than a batch": {2, func(n int) int { return 10 * n }, [][]int{{0, 1}, {2}, {3}, {4}, {5}, {6}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scribe{}
			g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: test.most, Weight: test.weight, Queue: 7})
			outcomes := enqueue(t, g, numbers(7)...)
			run()
			for i, outcome := range outcomes {
				if got, err := outcome(); got != 2*i || err != nil {
					t.Errorf("%d: %d, %v", i, got, err)
				}
			}
			end()
			want(t, "batches", s.batches, test.want)
		})
	}
}

// An error that Divide knows is the bad item's alone; any other is everybody's.
func TestDivide(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]int{nil, {0}, {4}, {9}, {0, 9}, {3, 4, 5}, numbers(10)} {
		for _, divide := range []bool{true, false} {
			t.Run(fmt.Sprint(bad, divide), func(t *testing.T) {
				t.Parallel()
				s := &scribe{bad: bad}
				g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 10, Divide: func(err error) bool { return divide && errors.Is(err, errBad) }})
				outcomes := enqueue(t, g, numbers(10)...)
				run()
				for i, outcome := range outcomes {
					refused := slices.Contains(bad, i) || !divide && len(bad) > 0
					if got, err := outcome(); errors.Is(err, errBad) != refused || !refused && got != 2*i {
						t.Errorf("%d: %d, %v", i, got, err)
					}
				}
				end()
				if most := 1 + 8*len(bad); len(s.batches) > most {
					t.Errorf("%d calls for %d bad items, want at most %d", len(s.batches), len(bad), most)
				}
			})
		}
	}
}

// A handler may answer each item for itself, and one that does not answer all is a fault
// that the callers hear of.
func TestResults(t *testing.T) {
	t.Parallel()
	g, run, end := group(t, batch.Config[int, int]{Most: 2, Do: func(_ context.Context, items []int) ([]batch.Result[int], error) {
		if items[0] == 5 {
			return nil, nil
		}
		return []batch.Result[int]{{Value: 1}, {Err: errBad}}, nil
	}})
	outcomes := enqueue(t, g, 1, 2, 5, 6)
	run()
	defer end()
	for i, fails := range []bool{false, true, true, true} {
		if _, err := outcomes[i](); (err != nil) != fails {
			t.Errorf("item %d: %v", i, err)
		}
	}
}

// Of items that conflict, one is in a batch, and they are done in the order in which they
// came, whatever each conflicts with.
func TestConflict(t *testing.T) {
	t.Parallel()
	s := &scribe{}
	// 11 and 12 conflict by their first digit, 12 and 22 by their last, 33 and 34 again.
	conflict := func(a, b int) bool { return a/10 == b/10 || a%10 == b%10 }
	g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 6, Conflict: conflict})
	outcomes := enqueue(t, g, 11, 12, 22, 33, 34, 55)
	run()
	for _, outcome := range outcomes {
		if _, err := outcome(); err != nil {
			t.Error(err)
		}
	}
	end()
	want(t, "batches", s.batches, [][]int{{11, 33, 55}, {12, 34}, {22}})
}

// Who has left is skipped, and gets the error of their context; the others are done.
func TestSubmit_SkipsWhoHasLeft(t *testing.T) {
	t.Parallel()
	s := &scribe{}
	g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 10})
	ctx, leave := context.WithCancel(t.Context())
	gone, err := g.Enqueue(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	stays := enqueue(t, g, 2)
	leave()
	if _, err := gone(); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left gets %v", err)
	}
	run()
	if got, err := stays[0](); got != 4 || err != nil {
		t.Errorf("who stays gets %d, %v", got, err)
	}
	end()
	want(t, "batches", s.batches, [][]int{{2}})
}

// What is posted waits for room until its context ends, and is done once it is in the queue,
// whoever has left by then.
func TestPost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{}
		g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 10, Queue: 1})
		post := func(item int) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return g.Post(ctx, item)
		}
		began := time.Now()
		if err := post(1); err != nil || time.Since(began) != 0 {
			t.Errorf("with room: %v after %s", err, time.Since(began))
		}
		if err := post(2); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("without: %v after %s", err, time.Since(began))
		}
		run()
		synctest.Wait()
		end()
		want(t, "batches", s.batches, [][]int{{1}})
		if err := post(3); !errors.Is(err, batch.ErrStopped) {
			t.Errorf("at the end: %v", err)
		}
	})
}

// What has waited for half of its caller's time is not begun, and its caller is told while
// there is time; so is who finds the queue full for so long.
func TestSubmit_LateWorkIsNotBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{hold: 3 * time.Second}
		g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 1, Queue: 2})
		run()
		submit := func(item int, patience time.Duration) <-chan error {
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := g.Submit(ctx, item)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		began := time.Now()
		first := submit(1, time.Minute)                                  // under way until 3 s
		inTime, late := submit(2, 7*time.Second), submit(3, time.Second) // fill the queue; halves 3.5 s and 0.5 s
		outside := submit(4, 4*time.Second)                              // half: 2 s
		if err := <-outside; !errors.Is(err, batch.ErrCrowded) || time.Since(began) != 2*time.Second {
			t.Errorf("who finds no room gets %v after %s", err, time.Since(began))
		}
		if err := <-late; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has left gets %v", err)
		}
		crowded := submit(5, 11*time.Second) // from 2 s on: half is 7.5 s
		tooLate := submit(6, 30*time.Second)
		if err := errors.Join(<-first, <-inTime, <-crowded); err != nil {
			t.Error(err)
		}
		if err := <-tooLate; err != nil {
			t.Error(err)
		}
		end()
		want(t, "batches", s.batches, [][]int{{1}, {2}, {5}, {6}})
	})
}

// In the queue, too, what is late by half is refused at its turn rather than begun.
func TestSubmit_RefusesAtItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{}
		g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 10})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		atHalf, _ := g.Enqueue(ctx, 1)
		<-time.After(5 * time.Second)
		inTime, _ := g.Enqueue(ctx, 2)
		run()
		if got, err := atHalf(); got != 2 || err != nil {
			t.Errorf("at its half: %d, %v", got, err)
		}
		if got, err := inTime(); got != 4 || err != nil {
			t.Errorf("in time: %d, %v", got, err)
		}
		end()

		g, run, end = group(t, batch.Config[int, int]{Do: s.do, Most: 10})
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		late, _ := g.Enqueue(ctx, 3)
		<-time.After(5*time.Second + 1)
		run()
		if _, err := late(); !errors.Is(err, batch.ErrCrowded) {
			t.Errorf("past its half: %v", err)
		}
		end()
		want(t, "batches", s.batches, [][]int{{1, 2}})
	})
}

// A batch ends in time whatever its callers allow, and the next begins.
func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{hold: time.Hour}
		g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 1, Timeout: 2 * time.Second})
		outcomes := enqueue(t, g, 1, 2)
		began := time.Now()
		run()
		for _, outcome := range outcomes {
			if _, err := outcome(); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		end()
		want(t, "time of two batches", time.Since(began), 4*time.Second)
	})
}

// Whatever was in the queue when the end came is done, and everybody is told so; what
// comes later is not begun.
func TestRun_DrainAnswersAll(t *testing.T) {
	t.Parallel()
	s := &scribe{}
	g := batch.New(batch.Config[int, int]{Do: s.do, Most: 3, Queue: 7})
	outcomes := enqueue(t, g, numbers(7)...)
	want(t, "waiting", g.Waiting(), 7)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Run(ctx)
	for i, outcome := range outcomes {
		if got, err := outcome(); got != 2*i || err != nil {
			t.Errorf("%d: %d, %v", i, got, err)
		}
	}
	if _, err := g.Submit(t.Context(), 8); !errors.Is(err, batch.ErrStopped) {
		t.Errorf("who comes later gets %v", err)
	}
	want(t, "batches", s.batches, [][]int{{0, 1, 2}, {3, 4, 5}, {6}})
}

// The end takes no longer than it may: the batch under way, and Drain.
func TestRun_DrainEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{hold: 2 * time.Second}
		g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 1, Queue: 10, Drain: 5 * time.Second})
		outcomes := enqueue(t, g, numbers(6)...)
		run()
		synctest.Wait()
		began := time.Now()
		end() // 0 under way, 1 and 2 in the drain, 3 cut off by its end
		want(t, "time of the end", time.Since(began), 7*time.Second)
		for i, fault := range []error{nil, nil, nil, context.DeadlineExceeded, batch.ErrStopped, batch.ErrStopped} {
			if _, err := outcomes[i](); !errors.Is(err, fault) {
				t.Errorf("%d: %v, want %v", i, err, fault)
			}
		}
		want(t, "batches", s.batches, [][]int{{0}, {1}, {2}, {3}})
	})
}

// Many callers at once each get their own answer, and batches are as large as they may be.
func TestSubmit_Many(t *testing.T) {
	t.Parallel()
	const callers, each = 50, 100
	s := &scribe{}
	g, run, end := group(t, batch.Config[int, int]{Do: s.do, Most: 16})
	run()
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				item := c*each + i
				if got, err := g.Submit(t.Context(), item); got != 2*item || err != nil {
					t.Errorf("%d: %d, %v", item, got, err)
				}
			}
		})
	}
	all.Wait()
	end()
	done := 0
	for _, items := range s.batches {
		if done += len(items); len(items) > 16 {
			t.Errorf("%d in one batch", len(items))
		}
	}
	want(t, "items done", done, callers*each)
}

// BenchmarkSubmit is what the group itself costs, for 64 callers at once.
func BenchmarkSubmit(b *testing.B) {
	g := batch.New(batch.Config[int, int]{Most: 512, Do: func(_ context.Context, items []int) ([]batch.Result[int], error) {
		return make([]batch.Result[int], len(items)), nil
	}})
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); g.Run(ctx) }()
	caller, leave := context.WithTimeout(b.Context(), time.Hour)
	defer leave()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Submit(caller, 1); err != nil {
				b.Error(err)
			}
		}
	})
	cancel()
	<-ended
}
