// Package bound keeps what one caller may have within limits: a number of requests a second,
// of streams of hints, and of connections. A caller is a person, or an address that nobody has
// signed in from.
//
// # What is promised
//
// Any excess is refused to the caller alone, before a page is made for them (package fair),
// and late to who is refused again and again. The gateway applies such bounds again to whoever
// is signed in, whatever front end they use.
//
// # When it breaks
//
// Replicas count by themselves: a caller of three of them has three times as much.
package bound

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

const (
	// WriteTimeout bounds the writing of a page, or of each piece of a stream.
	WriteTimeout = 30 * time.Second
	// watchTimeout bounds the wait for the first hint of a watch.
	watchTimeout = 10 * time.Second
)

// Bounds are what one caller may have.
type Bounds struct {
	callers, addresses *fair.Rates
	open               *fair.Shares
	streams            chan struct{}
	caller             func(*http.Request) (id string, signedIn bool)
}

// New makes the bounds of a site. Caller says who a request counts against: who is signed in,
// else the address.
func New(of fair.Bounds, caller func(*http.Request) (id string, signedIn bool)) *Bounds {
	callers, addresses := of.Callers()
	return &Bounds{callers, addresses, fair.NewShares(of.StreamsPerCaller), fair.Slots(of.MaxStreams), caller}
}

type connKey struct{}

// WithConn is http.Server's ConnContext.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, fair.ConnOf(c.RemoteAddr()))
}

// Requests counts each request before anything is done for it. Refuse answers one that came
// too soon, by so much.
func (b *Bounds) Requests(next http.Handler, refuse func(w http.ResponseWriter, r *http.Request, wait time.Duration, signedIn bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(WriteTimeout)) // a test's recorder has none
		caller, signedIn := b.caller(r)
		conn, _ := r.Context().Value(connKey{}).(*fair.Conn)
		rates := b.addresses
		if signedIn {
			conn.Prove(caller)
			rates = b.callers
		} else {
			conn.Asked()
		}
		if wait := rates.Take(caller, time.Now()); wait > 0 {
			conn.Hold(r.Context(), conn.Refused(wait))
			refuse(w, r, wait, signedIn)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ErrStreams says that the caller, or all together, have too many streams open. The page's
// script asks again later.
var ErrStreams = errors.New("too many streams are open")

// Stream takes a place for a stream of hints. The context ends if the first hint does not come
// in time; call begun when it has, and end when the stream is over.
func (b *Bounds) Stream(ctx context.Context, r *http.Request) (_ context.Context, begun, end func(), err error) {
	caller, _ := b.caller(r)
	if !b.open.Take(caller) {
		return nil, nil, nil, ErrStreams
	}
	select {
	case b.streams <- struct{}{}:
	default:
		if b.streams != nil {
			b.open.Give(caller)
			return nil, nil, nil, ErrStreams
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(watchTimeout, cancel)
	return ctx, func() { timer.Stop() }, func() {
		timer.Stop()
		cancel()
		b.open.Give(caller)
		if b.streams != nil {
			<-b.streams
		}
	}, nil
}

// KeptBytes is how long a form may be that is shown again to whoever sends too many requests:
// less than the longest, for showing it costs more than refusing it.
const KeptBytes = 32 << 10

// Refuse answers a request that came too soon. It does not render one of the site's pages,
// which would cost what is to be saved here, unless a person who is signed in would lose what
// they have typed: keeping shows them that.
func Refuse(policy string, keeping http.Handler) func(http.ResponseWriter, *http.Request, time.Duration, bool) {
	return func(w http.ResponseWriter, r *http.Request, wait time.Duration, signedIn bool) {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		if signedIn && r.Method == http.MethodPost && r.ContentLength <= KeptBytes {
			keeping.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		render.TooMany(w, r)
	}
}
