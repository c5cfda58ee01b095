package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rememberedKeys bounds each of the two generations of a limiter: about 10 MB
// for both limiters when all are full.
const rememberedKeys = 20_000

// limiter gives each key a bucket of tokens that fills at a rate. The memory is
// bounded: buckets live in a young and an old generation; when the young one is
// full it becomes the old one and the former old one is forgotten. A forgotten
// key begins with a full bucket, so a flood of new keys makes the limit looser,
// never the memory larger.
type limiter struct {
	rate     rate.Limit
	burst    int
	capacity int

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

// newLimiter allows perSecond on average and burst at once; 0 per second allows
// everything.
func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: max(burst, 1), capacity: rememberedKeys, young: make(map[string]*rate.Limiter)}
}

// take uses one token of the key's bucket. Without one it returns how long the
// caller should wait.
func (l *limiter) take(key string, now time.Time) (wait time.Duration) {
	if l.rate == 0 {
		return 0
	}
	reservation := l.bucket(key).ReserveN(now, 1)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *limiter) bucket(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket, ok := l.young[key]
	if ok {
		return bucket
	}
	if bucket, ok = l.old[key]; !ok {
		bucket = rate.NewLimiter(l.rate, l.burst)
	}
	if len(l.young) >= l.capacity {
		l.old, l.young = l.young, make(map[string]*rate.Limiter)
	}
	l.young[key] = bucket
	return bucket
}
