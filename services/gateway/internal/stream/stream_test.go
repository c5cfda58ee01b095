package stream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

func TestAcceptable(t *testing.T) {
	t.Parallel()
	watch := offersOf(&route.Route{Endless: true})
	export := offersOf(&route.Route{Method: messagingpb.MessagingService_ExportMyData_FullMethodName})
	for _, row := range []struct {
		accept string
		of     []offer
		want   string
	}{
		{"", watch, EventStream},
		{"*/*", watch, EventStream},
		{"*", watch, EventStream},
		{"text/*", watch, EventStream},
		{"text/event-stream", watch, EventStream},
		{"Text/Event-Stream; charset=utf-8", watch, EventStream},
		{"application/x-ndjson", watch, NDJSON},
		{"application/*", watch, NDJSON},
		{"text/event-stream;q=0.5, application/x-ndjson", watch, NDJSON},
		{"text/event-stream, application/x-ndjson", watch, EventStream},
		{"application/x-ndjson, text/event-stream", watch, EventStream},
		{"application/x-ndjson, */*", watch, NDJSON},
		{"application/x-ndjson;q=0.5, */*", watch, EventStream},
		{"application/x-ndjson;q=0.9, */*;q=0.1", watch, NDJSON},
		{"text/html, image/gif, *; q=.2, */*; q=.2", watch, EventStream},
		{"text/event-stream;q=0, */*", watch, NDJSON},
		{"application/json", watch, ""},
		{"text/html", watch, ""},
		{"*/*;q=0", watch, ""},
		{"text/event-stream;q=0", watch, ""},
		// What cannot be read says nothing.
		{";;;", watch, EventStream},
		{"text/event-stream;q=much, application/x-ndjson", watch, NDJSON},
		{"text/event-stream;q=2, text/event-stream;q=-1, text/event-stream;q=NaN", watch, EventStream},
		{"", export, answer.PlainJSON},
		{"*/*", export, answer.PlainJSON},
		{"application/json, text/plain, */*", export, answer.PlainJSON},
		{"application/x-ndjson", export, NDJSON},
		{"application/json;q=0.1, application/*", export, NDJSON},
		{"text/event-stream", export, ""},
	} {
		got := ""
		if best := acceptable([]string{row.accept}, row.of); best >= 0 {
			got = row.of[best].mediaType
		}
		if got != row.want {
			t.Errorf("Accept %q, of which %s is the default: %q, want %q", row.accept, row.of[0].mediaType, got, row.want)
		}
	}
	if best := acceptable(nil, export); best != 0 {
		t.Errorf("without Accept: %d", best)
	}
	if best := acceptable([]string{"text/html", "application/x-ndjson"}, export); best != 1 {
		t.Errorf("two headers: %d", best)
	}
}

// quiet is a stream on which nothing comes.
type quiet struct {
	grpc.ClientStream
	ctx context.Context
}

func (q *quiet) RecvMsg(any) error { <-q.ctx.Done(); return q.ctx.Err() }

// timed records what is written, and whether each piece had a time limit that is gone
// when it has been read.
type timed struct {
	*httptest.ResponseRecorder
	t       *testing.T
	until   time.Time
	flushed int
	// stuck is how many pieces are read; 0: all.
	stuck int
}

func (w *timed) SetWriteDeadline(until time.Time) error { w.until = until; return nil }

func (w *timed) Write(p []byte) (int, error) {
	if left := time.Until(w.until); w.until.IsZero() || left != answer.WriteTimeout {
		w.t.Errorf("%q has until %s", p, w.until)
	}
	return w.ResponseRecorder.Write(p)
}

func (w *timed) FlushError() error {
	if w.flushed++; w.flushed == w.stuck {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func streaming(w http.ResponseWriter) *answer.Writer {
	a := &answer.Writer{ResponseWriter: w}
	a.Stream()
	return a
}

// A watch on which nothing happens shows that it is alive, for as long as that is read.
func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	for mediaType, sign := range map[string]string{EventStream: ": alive\n\n", NDJSON: "\n", answer.PlainJSON: ""} {
		signs := 4 // after 1, 16, 31 and 46 seconds
		if sign == "" {
			signs = 0
		}
		want := strings.Repeat(sign, signs)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			defer cancel()
			w := &timed{ResponseRecorder: httptest.NewRecorder(), t: t}
			out := &outflow{offer: offer{mediaType: mediaType}, w: streaming(w), endless: mediaType != answer.PlainJSON}
			switch mediaType {
			case EventStream:
				out.format = newEvents("")
			case NDJSON:
				out.format = lines{}
			case answer.PlainJSON:
				out.format = &document{}
			}
			err := out.relay(ctx, (&messagingpb.WatchConversationsResponse{}).ProtoReflect().Type(), &quiet{ctx: ctx})
			if !errors.Is(err, errUnheard) { // the call is over
				t.Error(err)
			}
			got := w.Body.String()
			if mediaType == EventStream {
				_, got, _ = strings.Cut(got, "\n\n") // the head comes with the first
			}
			if got != want || w.flushed != signs || !w.until.IsZero() {
				t.Errorf("%s: %q in %d pieces, until %s", mediaType, got, w.flushed, w.until)
			}
		})
	}
}

// A watch whose reader does not read ends with the sign of life that is not read.
func TestSignsOfLife_ThatAreNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &timed{ResponseRecorder: httptest.NewRecorder(), t: t, stuck: 3}
		out := &outflow{format: newEvents(""), w: streaming(w), endless: true}
		err := out.relay(ctx, (&messagingpb.WatchConversationsResponse{}).ProtoReflect().Type(), &quiet{ctx: ctx})
		if took := time.Since(begun); !errors.Is(err, errUnheard) || took != aliveFirst+2*aliveEvery {
			t.Errorf("%v after %s", err, took)
		}
	})
}
