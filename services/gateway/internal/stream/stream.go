package stream

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

// The media types of answers that stream, besides [answer.PlainJSON].
const (
	EventStream = "text/event-stream"
	NDJSON      = "application/x-ndjson"
)

const (
	// aliveEvery is the interval of heartbeats. Proxies cut a stream that is silent for
	// longer; nginx waits for a minute by default. aliveFirst is when the first one is sent:
	// the caller then has an answer, whatever the service is waiting for.
	aliveEvery = 15 * time.Second
	aliveFirst = time.Second
)

var errNotAcceptable = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_NOT_ACCEPTABLE,
	"this path does not answer in a format that the header Accept takes; GET /openapi.json lists those that it has")

// errUnheard: the reader of the answer has left, or reads too slowly.
var errUnheard = errors.New("nobody reads the answer")

// format writes answers that stream.
type format interface {
	// open is what comes before the first answer, close after the last.
	open() []byte
	close() []byte
	answer(message proto.Message) ([]byte, error)
	// alive is a heartbeat.
	alive() []byte
	// fail says why no more answers come; nothing if the format cannot say it.
	fail(status []byte) []byte
}

// offer is a format that a route has.
type offer struct {
	mediaType string
	begin     func(r *http.Request) format
}

// offersOf are the formats of a route with many answers, the default first.
func offersOf(rt *route.Route) []offer {
	asLines := offer{NDJSON, func(*http.Request) format { return lines{} }}
	if rt.Endless {
		return []offer{{EventStream, func(r *http.Request) format { return newEvents(r.Header.Get("Last-Event-ID")) }}, asLines}
	}
	if parts := documents[rt.Method]; parts != nil {
		return []offer{{answer.PlainJSON, func(*http.Request) format { return &document{parts: parts} }}, asLines}
	}
	return []offer{asLines}
}

// MediaTypes are those of a route with many answers, the default first.
func MediaTypes(rt *route.Route) (types []string) {
	for _, offer := range offersOf(rt) {
		types = append(types, offer.mediaType)
	}
	return types
}

// Serve answers a call whose answers stream.
func Serve(w http.ResponseWriter, r *http.Request, c *door.Call, params map[string]string) {
	offers := offersOf(c.Route)
	w.Header().Add("Vary", "Accept")
	best := acceptable(r.Header.Values("Accept"), offers)
	if best < 0 {
		answer.Refuse(w, r, errNotAcceptable)
		return
	}
	out := &outflow{w: w, offer: offers[best], format: offers[best].begin(r), endless: c.Endless}
	if a, ok := w.(*answer.Writer); ok && a.HeadOnly {
		// The headers are the whole answer.
		out.begin(nil)
		w.WriteHeader(http.StatusOK)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	up, err := ask(ctx, c, r.URL.Query(), params)
	if err != nil {
		answer.Refuse(w, r, err)
		return
	}
	if err := out.relay(ctx, c.Output, up); err != nil {
		breakOff(out, r, err)
	}
}

// ask sends the request of a method with many answers. Path and query have been
// checked.
func ask(ctx context.Context, c *door.Call, query url.Values, params map[string]string) (grpc.ClientStream, error) {
	request := c.Input.New().Interface()
	if err := runtime.PopulateQueryParameters(request, query, utilities.NewDoubleArray(nil)); err != nil {
		return nil, answer.ErrBadPath.Because(err)
	}
	for name, value := range params {
		if err := runtime.PopulateFieldFromPath(request, name, value); err != nil {
			return nil, answer.ErrBadPath.Because(err)
		}
	}
	up, err := c.Follow(ctx, &grpc.StreamDesc{ServerStreams: true})
	if err != nil {
		return nil, err
	}
	// If the stream has ended already, its answer says why.
	if err := up.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, door.PublicError(err)
	}
	return up, door.PublicError(up.CloseSend())
}

// outflow is an HTTP answer that streams.
type outflow struct {
	offer
	format
	w       http.ResponseWriter
	endless bool
	begun   bool
}

// received is what a service has answered.
type received struct {
	message proto.Message
	err     error
}

// relay passes answers on until their regular end, and then returns nil. ctx must be done
// when it has returned.
func (o *outflow) relay(ctx context.Context, output protoreflect.MessageType, up grpc.ClientStream) error {
	alive := time.NewTimer(aliveFirst)
	defer alive.Stop()
	if !o.endless {
		alive.Stop() // a finite stream needs no heartbeats
	}
	answers := make(chan received)
	go func() {
		for err := error(nil); err == nil; {
			message := output.New().Interface()
			err = up.RecvMsg(message)
			select {
			case answers <- received{message, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		var piece []byte
		var header metadata.MD
		select {
		case got := <-answers:
			if errors.Is(got.err, io.EOF) {
				return o.put(o.close(), nil)
			}
			if got.err != nil {
				return door.PublicError(got.err)
			}
			var err error
			if piece, err = o.answer(got.message); err != nil {
				return err
			}
			header, _ = up.Header() // there is one: an answer came after it
		case <-alive.C:
			alive.Reset(aliveEvery)
			piece = o.alive()
		case <-ctx.Done():
			return errUnheard
		}
		if err := o.put(piece, header); err != nil {
			return err
		}
	}
}

// put writes a piece, after the beginning if it is the first, and flushes it.
func (o *outflow) put(piece []byte, header metadata.MD) error {
	if !o.begun {
		o.begin(header)
		piece = append(o.open(), piece...)
	}
	if len(piece) == 0 {
		return nil
	}
	if _, err := o.w.Write(piece); err != nil { //nolint:gosec // no page by its content type, under nosniff
		return errUnheard
	}
	if err := http.NewResponseController(o.w).Flush(); err != nil {
		return errUnheard
	}
	return nil
}

func (o *outflow) begin(metadata metadata.MD) {
	o.begun = true
	header := o.w.Header()
	for key, values := range metadata {
		if door.AllowedResponse(key) {
			header[http.CanonicalHeaderKey(key)] = values
		}
	}
	header.Set("Content-Type", o.mediaType)
	if o.endless {
		// A proxy that buffers or compresses delays events.
		header.Set("Cache-Control", "no-store, no-transform")
		header.Set("X-Accel-Buffering", "no")
	}
}

// breakOff ends an answer that cannot be given as a whole.
func breakOff(o *outflow, r *http.Request, err error) {
	switch heard := !errors.Is(err, errUnheard) && r.Context().Err() == nil; {
	case heard && !o.begun:
		answer.Refuse(o.w, r, err)
		return
	case heard:
		st := answer.StatusOf(o.w, r, err)
		_ = o.put(o.fail(answer.StatusJSON(st)), nil) // the reader may have gone away
	}
	if !o.endless {
		// A document that broke off must not look complete.
		panic(http.ErrAbortHandler)
	}
}

// lines is application/x-ndjson: one answer per line, in a watch an empty line as a
// heartbeat, and as the last line {"error": google.rpc.Status} if the stream breaks off.
type lines struct{}

func (lines) open() []byte  { return nil }
func (lines) close() []byte { return nil }
func (lines) alive() []byte { return []byte("\n") }

func (lines) answer(message proto.Message) ([]byte, error) {
	text, err := answer.JSON.Marshal(message)
	return append(text, '\n'), err
}

func (lines) fail(status []byte) []byte {
	return append(append([]byte(`{"error":`), status...), "}\n"...)
}

// acceptable returns the index of the offer that Accept prefers (RFC 9110, 12.5.1), or -1. Of
// equally preferred ones it is the one that Accept names more specifically, then the first.
// What cannot be parsed in Accept is ignored.
func acceptable(accept []string, offers []offer) int {
	type mediaRange struct {
		of      string
		quality float64
	}
	var ranges []mediaRange
	for text := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		of, params, err := mime.ParseMediaType(text)
		quality := 1.0
		if q, ok := params["q"]; ok && err == nil {
			quality, err = strconv.ParseFloat(q, 64)
		}
		if err == nil && quality >= 0 && quality <= 1 {
			ranges = append(ranges, mediaRange{of, quality})
		}
	}
	if len(ranges) == 0 {
		return 0
	}
	best, bestQuality, bestCloseness := -1, 0.0, 0
	for i, offer := range offers {
		quality, closeness := 0.0, 0
		for _, r := range ranges {
			if c := closenessOf(r.of, offer.mediaType); c > closeness || c > 0 && c == closeness && r.quality > quality {
				quality, closeness = r.quality, c
			}
		}
		if quality > bestQuality || quality == bestQuality && quality > 0 && closeness > bestCloseness {
			best, bestQuality, bestCloseness = i, quality, closeness
		}
	}
	return best
}

// closenessOf returns how specifically a range of Accept names a media type; 0: not at all.
func closenessOf(of, mediaType string) int {
	kind, _, _ := strings.Cut(mediaType, "/")
	switch of {
	case mediaType:
		return 3
	case kind + "/*":
		return 2
	case "*/*", "*": // the second is Java's
		return 1
	}
	return 0
}
