package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/stream"
)

// readTimeout bounds the reading of a report; that of other requests is bounded by their
// call. It and answer.WriteTimeout are set on each request, because the server's own would
// cut streams.
const readTimeout = 15 * time.Second

var (
	errNoPath   = rpc.Refuse(codes.NotFound, errorpb.ErrorReason_PATH_UNKNOWN, "there is nothing at this path; GET /openapi.json lists what there is")
	errNoVerb   = rpc.Refuse(codes.Unimplemented, errorpb.ErrorReason_HTTP_METHOD_NOT_ALLOWED, "this path does not take this HTTP method; see the header Allow")
	errBody     = rpc.Invalid("body", errorpb.ErrorReason_BODY_UNEXPECTED, "this method takes no body")
	errNotReady = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_NOT_READY, "not ready; the admin port says why")
)

// rest serves the HTTP port.
type rest struct {
	door     *door.Door
	webhooks *webhooks
	mux      *runtime.ServeMux
	// ready is what /readyz asks.
	ready   func(context.Context) error
	origins []string
	access  bool
	// publicURL is where callers find the gateway, if it is set; resource says where they
	// sign in.
	publicURL string
	resource  protectedResource
	// byREST finds a route by verb and path pattern.
	byREST map[string]*route.Route
	// fixed are the paths that the gateway answers itself.
	fixed map[string]func(http.ResponseWriter, *http.Request)
}

// newREST registers every forwarded service that has REST paths.
func newREST(ctx context.Context, d *door.Door, ready func(context.Context) error, cfg Config) (*rest, error) {
	s := &rest{door: d, ready: ready, origins: cfg.CORSOrigins, access: cfg.AccessLog, publicURL: cfg.PublicURL, resource: describeResource(cfg.Issuers, d.Routes), byREST: make(map[string]*route.Route)}
	s.fixed = discoveries(cfg.Issuers)
	maps.Copy(s.fixed, map[string]func(http.ResponseWriter, *http.Request){
		"/livez": s.serveLive, "/readyz": s.serveReady, "/openapi.json": s.serveAPI, resourcePath: s.serveResource,
	})
	for _, rt := range d.Routes {
		for _, form := range rt.Forms() {
			s.byREST[form.Verb+" "+form.Path] = form
		}
	}
	s.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newStrictJSON()),
		runtime.WithMiddlewares(s.admit),
		// Which metadata a call carries is decided at its admission alone.
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) { return key, door.AllowedResponse(key) }),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithErrorHandler(s.handleError),
		runtime.WithRoutingErrorHandler(s.handleRoutingError),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	for _, entry := range forwarded {
		if err := entry.register(ctx, s.mux, door.AdmittedConn{}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// handler is the whole port, with traces and metrics. A span has the route as
// its name; query and headers are in none. The server's name is fixed because
// otherwise each Host that a caller makes up would be a new series.
func (s *rest) handler() (http.Handler, error) {
	small, err := answer.Compressed(s)
	if err != nil {
		return nil, err
	}
	return otelhttp.NewHandler(small, "gateway", otelhttp.WithServerName("gateway:80"),
		otelhttp.WithFilter(func(r *http.Request) bool { return !isProbe(r) })), nil
}

func milliseconds(start time.Time) float64 { return float64(time.Since(start).Microseconds()) / 1000 }

func isProbe(r *http.Request) bool { return r.URL.Path == "/livez" || r.URL.Path == "/readyz" }

// admit runs before each REST method: the same admission as on the gRPC side,
// and before anything of the request is decoded.
func (s *rest) admit(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		rt := s.routeOf(r)
		if rt == nil {
			answer.Refuse(w, r, errNoPath)
			return
		}
		if a, ok := w.(*answer.Writer); ok {
			a.Route = rt.Path
		}
		tickets, r, err := takeTicket(rt, r)
		if err != nil {
			if s.counted(w, r) {
				answer.Refuse(w, r, err)
			}
			return
		}
		ctx := r.Context()
		if !rt.Streams {
			var cancel context.CancelFunc
			ctx, cancel = s.door.Deadline(ctx)
			defer cancel()
		}
		v := door.VisitOf(ctx)
		if v == nil {
			answer.Refuse(w, r, errors.New("a request that was not seen arriving"))
			return
		}
		ctx, c, err := s.door.Admit(ctx, v, rt.Method, withTickets(tickets, r.Header))
		if err != nil {
			answer.Refuse(w, r, err)
			return
		}
		c.Route = rt // one form of the method
		defer func() { c.End() }()
		r = r.WithContext(ctx)
		// It would set a deadline past the gateway's.
		r.Header.Del("Grpc-Timeout")
		if err := s.prepare(w, r, c, params); err != nil {
			answer.Refuse(w, r, err)
			return
		}
		if c.Streams {
			stream.Serve(w, r, c, params)
			return
		}
		next(w, r, params)
	}
}

func (s *rest) routeOf(r *http.Request) *route.Route {
	pattern, _ := runtime.HTTPPattern(r.Context())
	return s.byREST[r.Method+" "+strings.ReplaceAll(pattern.String(), "=*}", "}")]
}

// prepare checks path and query and reads the body, until the call's deadline or until newer
// requests of its caller push it out.
func (s *rest) prepare(w http.ResponseWriter, r *http.Request, c *door.Call, params map[string]string) error {
	for _, value := range params {
		switch {
		case value == "":
			return errNoPath
		case !utf8.ValidString(value):
			return answer.ErrBadPath
		}
	}
	r.URL.RawQuery, c.Unreadable = checkQuery(c.Route, r.URL.RawQuery)
	if len(c.Unreadable) > 0 && (c.Streams || c.Unreadable[0].Reason == errorpb.ErrorReason_QUERY_MALFORMED && !c.HasBody) {
		return c.RefuseUnreadable(nil)
	}
	// Only a test's server cannot set deadlines.
	control := http.NewResponseController(w)
	if c.HasBody {
		if deadline, ok := r.Context().Deadline(); ok {
			_ = control.SetReadDeadline(deadline)
		}
		c.Visit.Await(func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
		defer c.Visit.Leave()
		b, err := readBody(w, r)
		if err != nil {
			return c.Visit.Incomplete(err)
		}
		b.call = c
		r.Body = b
	} else {
		if err := noBody(r, c.Visit, control); err != nil {
			return err
		}
		r.Body = http.NoBody
	}
	_ = control.SetReadDeadline(time.Time{})
	if a, ok := w.(*answer.Writer); ok && c.Streams {
		a.Stream()
	}
	return nil
}

// noBody refuses a body that the method does not take. The head does not always say whether
// there is one: with HTTP/2 it may turn out later to be empty.
func noBody(r *http.Request, v *door.Visit, control *http.ResponseController) error {
	n := r.ContentLength
	if n < 0 {
		if deadline, ok := r.Context().Deadline(); ok {
			_ = control.SetReadDeadline(deadline)
		}
		v.Await(func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
		defer v.Leave()
		read, err := io.ReadFull(r.Body, make([]byte, 1))
		if read == 0 && !errors.Is(err, io.EOF) {
			return v.Incomplete(errUnreadable.Because(err))
		}
		n = int64(read)
	}
	if n > 0 {
		return errBody
	}
	return nil
}

// isJSON reports whether a body is announced as plain JSON in UTF-8.
func isJSON(header http.Header) bool {
	kind, params, err := mime.ParseMediaType(door.ListOf(header.Values("Content-Type")))
	charset, coding := params["charset"], door.ListOf(header.Values("Content-Encoding"))
	return err == nil && kind == "application/json" &&
		(charset == "" || strings.EqualFold(charset, "utf-8")) &&
		(coding == "" || strings.EqualFold(coding, "identity"))
}

// ServeHTTP answers every request of the port.
func (s *rest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	// Telemetry reads its own request when this has returned.
	seen := r
	r = r.WithContext(rpc.WithLanguage(answer.Named(r.Context()), door.ListOf(r.Header.Values("Accept-Language"))))
	a := answer.New(w, r)
	if origin := s.origin(r); origin != "" {
		a.ResourceMetadata = origin + resourcePath
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(start.Add(readTimeout))
	_ = control.SetWriteDeadline(start.Add(answer.WriteTimeout))
	defer func() {
		fault := recover()
		cause, _ := fault.(error)
		broken := errors.Is(cause, http.ErrAbortHandler)
		if fault != nil && !broken {
			err := recovered(r.Context(), "HTTP", fault)
			if broken = a.Status != 0; !broken {
				answer.Refuse(a, r, err)
			}
		}
		if a.Route != "" {
			// Telemetry takes the span's name from here.
			seen.Pattern = r.Method + " " + a.Route
		}
		if s.access && !isProbe(r) {
			slog.InfoContext(r.Context(), "request", "method", r.Method, "route", a.Route, "status", a.Status, "duration_ms", milliseconds(start))
		}
		if broken {
			// Half an answer must not look like a whole one.
			panic(http.ErrAbortHandler)
		}
	}()
	secure(a.Header())
	a.Header().Set(answer.RequestIDName, answer.RequestID(r.Context()))
	// A provider's report does not come from a page, and is counted separately.
	if isWebhook(r.URL.Path) {
		s.serveWebhook(a, r)
		return
	}
	v := s.arrive(r)
	a.Visit = v
	allowed := s.crossOrigin(a.Header(), r.Header.Get("Origin"))
	if v.Refusal != nil {
		answer.Refuse(a, r, v.Refusal)
		return
	}
	counted := r.WithContext(door.WithVisit(r.Context(), v))
	if allowed && r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		s.servePreflight(a, counted)
		return
	}
	s.serve(a, counted)
}

// arrive counts a request before anything is done for it.
func (s *rest) arrive(r *http.Request) *door.Visit {
	conn, _ := r.Context().Value(connKey{}).(*fair.Conn)
	conn.Reports(false)
	address := s.door.Address(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
	return s.door.Arrive(r.Context(), conn, address, r.Header.Values("Authorization"))
}

// connKey finds the connection of a request.
type connKey struct{}

// withConn is http.Server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, fair.ConnOf(c.RemoteAddr()))
}

func (s *rest) serve(w *answer.Writer, r *http.Request) {
	serve, ok := s.fixed[r.URL.Path]
	switch {
	case strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f"):
		// The mux would take it for a slash, and an id for two segments.
		if s.counted(w, r) {
			answer.Refuse(w, r, errNoPath)
		}
	case !ok && r.Method == http.MethodHead:
		get := r.Clone(r.Context())
		get.Method = http.MethodGet
		w.HeadOnly = true
		s.mux.ServeHTTP(w, get)
	case !ok:
		s.mux.ServeHTTP(w, r)
	case !s.counted(w, r):
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		answer.Refuse(w, r, errNoVerb)
	default:
		w.Route = r.URL.Path
		serve(w, r)
	}
}

// counted counts a request whose token is not verified, and reports whether it may be
// answered. If not, it has been refused.
func (s *rest) counted(w http.ResponseWriter, r *http.Request) bool {
	v := door.VisitOf(r.Context())
	if v == nil {
		return true
	}
	err := v.Count(r.Context())
	if err != nil {
		answer.Refuse(w, r, err)
	}
	return err == nil
}

// secure sets what every answer has: the API is data, never a page.
func secure(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-site")
}

// crossOrigin allows pages of the configured origins to read the answer, refusals too.
// Cookies are not part of it: there are none.
func (s *rest) crossOrigin(header http.Header, origin string) (allowed bool) {
	if len(s.origins) == 0 {
		return false
	}
	header.Add("Vary", "Origin")
	if !allowsOrigin(s.origins, origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "ETag, Retry-After, Idempotent-Replayed, WWW-Authenticate, X-Request-Id, RateLimit, RateLimit-Policy")
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	return true
}

// servePreflight says what a page may send.
func (s *rest) servePreflight(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, "+
		"Last-Event-ID, Cache-Control, X-Requested-With, Traceparent, Tracestate, Baggage")
	header.Set("Access-Control-Max-Age", "600")
	if s.counted(w, r) {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *rest) serveLive(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n"))
}

// serveReady is the admin port's readiness without its reasons, which name internal
// addresses.
func (s *rest) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(r.Context()); err != nil {
		answer.Refuse(w, r, errNotReady)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (s *rest) serveAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("ETag", answer.ETagOf(openAPI))
	_, _ = w.Write(openAPI)
}

// handleError answers with an error of the mux or of a service.
func (s *rest) handleError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	var malformed runtime.MalformedSequenceError
	if b, ok := r.Body.(*body); ok && b.refusal != nil {
		err = b.call.RefuseUnreadable(b.refusal)
	} else if errors.As(err, &malformed) {
		err = answer.ErrBadPath
	}
	answer.Refuse(w, r, err)
}

func (s *rest) handleRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	if !s.counted(w, r) {
		return
	}
	switch code {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", strings.Join(s.verbs(r.URL.Path), ", "))
		answer.Refuse(w, r, errNoVerb)
	case http.StatusBadRequest:
		answer.Refuse(w, r, answer.ErrBadPath)
	default:
		answer.Refuse(w, r, errNoPath)
	}
}

// verbs are the HTTP methods that a path takes.
func (s *rest) verbs(path string) []string {
	var verbs []string
	for _, rt := range s.byREST {
		if rt.Matches(path) {
			verbs = append(verbs, rt.Verb)
			if rt.Verb == http.MethodGet {
				verbs = append(verbs, http.MethodHead)
			}
		}
	}
	slices.Sort(verbs)
	return slices.Compact(verbs)
}
