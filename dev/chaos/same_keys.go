package chaos

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
)

// sameKeys has 64 callers submit the same ten thousand keys, in any order.
func (r *run) sameKeys(ctx context.Context) error {
	s, err := r.stage(ctx, "same keys", inReports)
	if err != nil {
		return err
	}
	defer s.close()
	const callers, keys = 64, 10_000
	list := make([]*load.Sent, keys)
	for i := range list {
		list[i] = &load.Sent{Member: load.Member(0), Key: uuid.NewString()}
	}
	s.load.Adopt(list)
	var calls atomic.Int64
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for i := range keys {
				at := list[(i+caller*keys/callers)%keys]
				if caller%2 == 0 { // half of them hard on each other's heels
					at = list[i]
				}
				s.load.Submit(s.finish, at, "Bonjour, "+at.Key, caller%4 == 0)
				calls.Add(1)
			}
		})
	}
	group.Wait()
	v, err := s.verdict(ctx, false)
	if err != nil {
		return err
	}
	s.print(v)
	fmt.Fprintf(r.out, "%d callers, %d keys, %d calls: %d conversations\n", callers, keys, calls.Load(), v.Conversations)
	if broken := v.Violations(); len(broken) > 0 || v.Conversations != keys {
		return fmt.Errorf("%w: %d conversations of %d keys, %v", ErrViolated, v.Conversations, keys, broken)
	}
	return nil
}
