package web

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// One person, or one address that nobody has signed in from, gets a bounded number of
// requests a second, of streams of hints, and of connections; any excess is refused to them
// alone, before a page is made for them (package fair). The gateway applies such bounds again
// to whoever is signed in, whatever front end they use.

const (
	// writeTimeout bounds the writing of a page, or of each piece of a stream.
	writeTimeout = 30 * time.Second
	// watchTimeout bounds the wait for the first hint of a watch.
	watchTimeout = 10 * time.Second
)

// bounds are what one caller may have.
type bounds struct {
	callers, addresses *fair.Rates
	open               *fair.Shares
	streams            chan struct{}
}

func newBounds(cfg Config) bounds {
	callers, addresses := cfg.Callers()
	return bounds{callers, addresses, fair.NewShares(cfg.StreamsPerCaller), fair.Slots(cfg.MaxStreams)}
}

type connKey struct{}

// withConn is http.Server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, fair.ConnOf(c.RemoteAddr()))
}

// caller returns who a request counts against: who is signed in, else the address.
func (s *site) caller(r *http.Request) (id string, signedIn bool) {
	if held := s.sessions.Opened(r); held != nil && held.ID != "" && !held.Over(time.Now()) {
		return held.ID, true
	}
	return "address " + s.cfg.Client(r.RemoteAddr, r.Header.Values("X-Forwarded-For")), false
}

// bounded counts each request before anything is done for it.
func (s *site) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has none
		caller, signedIn := s.caller(r)
		conn, _ := r.Context().Value(connKey{}).(*fair.Conn)
		rates := s.addresses
		if signedIn {
			conn.Prove(caller)
			rates = s.callers
		} else {
			conn.Asked()
		}
		if wait := rates.Take(caller, time.Now()); wait > 0 {
			conn.Hold(r.Context(), conn.Refused(wait))
			tooMany(w, r, wait)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tooMany answers a request that came too soon. It does not render one of the site's pages,
// which would cost what is to be saved here.
func tooMany(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	header := w.Header()
	header.Set("Retry-After", seconds)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", "text/html; charset=utf-8")
	lang := render.LanguageOf(r)
	text := map[string][2]string{
		"fr": {"Trop d’appels en peu de temps", "Attendez quelques secondes, puis rechargez cette page : ce que vous aviez saisi sera envoyé à nouveau."},
		"en": {"Too many requests in a short time", "Wait a few seconds, then reload this page: what you had entered will be sent again."},
	}[lang]
	header.Set("Content-Language", lang)
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = w.Write([]byte(strings.NewReplacer("LANG", lang, "TITLE", text[0], "TEXT", text[1]).Replace( //nolint:gosec // words of ours
		`<!DOCTYPE html><html lang="LANG"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>TITLE</title><h1>TITLE</h1><p>TEXT</p></html>`)))
}

// errStreams: the caller, or all together, have too many streams open. The page's
// script asks again later.
var errStreams = errors.New("too many streams are open")

// watching takes a place for a stream of hints. The context ends if the first hint does not
// come in time; call begun when it has, and end when the stream is over.
func (v *visit) watching() (ctx context.Context, begun, end func(), err error) {
	caller, _ := v.caller(v.r)
	if !v.open.Take(caller) {
		return nil, nil, nil, errStreams
	}
	select {
	case v.streams <- struct{}{}:
	default:
		if v.streams != nil {
			v.open.Give(caller)
			return nil, nil, nil, errStreams
		}
	}
	ctx, cancel := context.WithCancel(v.ctx)
	timer := time.AfterFunc(watchTimeout, cancel)
	return ctx, func() { timer.Stop() }, func() {
		timer.Stop()
		cancel()
		v.open.Give(caller)
		if v.streams != nil {
			<-v.streams
		}
	}, nil
}
