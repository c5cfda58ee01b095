package fair

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// rememberedCallers bounds the buckets of [Rates]: about 10 MB when there are so many.
const rememberedCallers = 40_000

// Rates gives each caller a bucket of tokens that fills at a rate. The memory is
// bounded: beyond rememberedCallers, the least recently seen caller is forgotten. A forgotten
// caller begins with a full bucket, so a flood of new ones makes the limit looser, never the
// memory larger.
type Rates struct {
	rate    rate.Limit
	burst   int
	buckets *lru.Cache[string, *rate.Limiter]
}

// NewRates allows perSecond on average and burst at once; 0 per second allows
// everything.
func NewRates(perSecond float64, burst int) *Rates {
	buckets, _ := lru.New[string, *rate.Limiter](rememberedCallers) // fails for a size below 1 alone
	return &Rates{rate: rate.Limit(perSecond), burst: max(burst, 1), buckets: buckets}
}

// Take uses one token of the caller's bucket. Without one it returns how long the
// caller should wait.
func (r *Rates) Take(caller string, now time.Time) (wait time.Duration) {
	if r.rate == 0 {
		return 0
	}
	// Not reserved and cancelled: with several at once, that loses tokens.
	bucket := r.bucket(caller)
	if bucket.AllowN(now, 1) {
		return 0
	}
	return max(r.filling(1-bucket.TokensAt(now)), 1)
}

// Quota is what a caller may still do.
type Quota struct {
	// Burst is the size of the bucket, and Window how long an empty one takes to fill.
	Burst  int
	Window time.Duration
	// Left is how many tokens are left, and Reset how long until the bucket is full.
	Left  int
	Reset time.Duration
}

// Quota returns what is left of a caller's bucket; limited is false if there is no limit.
func (r *Rates) Quota(caller string, now time.Time) (q Quota, limited bool) {
	if r.rate == 0 {
		return Quota{}, false
	}
	tokens := r.bucket(caller).TokensAt(now)
	return Quota{
		Burst: r.burst, Window: r.filling(float64(r.burst)),
		Left: max(int(tokens), 0), Reset: r.filling(float64(r.burst) - tokens),
	}, true
}

// filling returns how long this many tokens take to come.
func (r *Rates) filling(tokens float64) time.Duration {
	return time.Duration(tokens / float64(r.rate) * float64(time.Second))
}

// Turn uses one token of the caller's bucket, a future one if there is none, and returns how
// long to wait for it. A caller that would have to wait longer than most waits for most, and
// uses none.
func (r *Rates) Turn(caller string, now time.Time, most time.Duration) (wait time.Duration) {
	return r.turns(caller, 1, now, most)
}

// turns is Turn for n tokens.
func (r *Rates) turns(caller string, n int, now time.Time, most time.Duration) (wait time.Duration) {
	if r.rate == 0 {
		return 0
	}
	reservation := r.bucket(caller).ReserveN(now, min(n, r.burst))
	if wait = reservation.DelayFrom(now); wait > most {
		reservation.CancelAt(now)
		return most
	}
	return wait
}

func (r *Rates) bucket(caller string) *rate.Limiter {
	if bucket, ok := r.buckets.Get(caller); ok {
		return bucket
	}
	bucket := rate.NewLimiter(r.rate, r.burst)
	if others, ok, _ := r.buckets.PeekOrAdd(caller, bucket); ok {
		return others // of the same caller, a moment ago
	}
	return bucket
}
