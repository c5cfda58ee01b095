package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
)

const (
	listConversations = "/messagerie.messaging.v1.MessagingService/ListConversations"
	getTaxonomy       = "/messagerie.taxonomy.v1.TaxonomyService/GetTaxonomy"
)

// silent opens a stream and sends no request on it.
func silent(t *testing.T, conn *grpc.ClientConn, ctx context.Context, method string) grpc.ClientStream { //nolint:revive // t comes first here
	t.Helper()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// answered fails the test unless a member's call is answered, by either protocol.
func answered(t *testing.T, s *stack) {
	t.Helper()
	if err := s.grpc.Invoke(s.as(t, "member"), listConversations, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("another's call by gRPC: %v", err)
	}
	if got := s.rest(t, "member", "GET", "/v1/conversations", ""); got.code != http.StatusOK {
		t.Errorf("another's call by REST: %d %s", got.code, got.body)
	}
}

// A request that does not come takes nobody's slot, ends with the time of its call,
// and gives way to newer ones of the same caller.
func TestSilentStreams(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.MaxConcurrent, cfg.CallsPerCaller, cfg.CallTimeout = 1, 3, time.Second })
	answered(t, s) // whose token is known from now on
	attacker := dial(t, s.grpc.Target())
	var streams []grpc.ClientStream
	const strangersPerAddress = 4 // as internal/door has it
	for range strangersPerAddress*3 + 1 {
		streams = append(streams, silent(t, attacker, t.Context(), getTaxonomy))
	}
	answered(t, s)
	if err := streams[0].RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Canceled {
		t.Errorf("the oldest of too many: %v", err)
	}
	for i, stream := range streams[1:] {
		if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("silent stream %d: %v", i+1, err)
		}
	}
	// Somebody who is known gives way sooner: they are one.
	for i := range 4 {
		streams[i] = silent(t, attacker, s.as(t, "member"), messagingpb.MessagingService_ListConversations_FullMethodName)
	}
	if err := streams[0].RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Canceled {
		t.Errorf("the oldest of a member's too many: %v", err)
	}
	// The same of a stream with many answers, and of a caller who has signed in.
	watch := silent(t, attacker, s.as(t, "member"), messagingpb.MessagingService_WatchConversations_FullMethodName)
	if err := watch.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Canceled {
		t.Errorf("silent watch: %v", err)
	}
}

// A body that comes slowly takes no slot, and ends with the time of its call.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.MaxConcurrent, cfg.CallsPerCaller, cfg.CallTimeout = 1, 3, time.Second })
	open := func() *bufio.Reader {
		conn := dialTCP(t, s.url)
		write(t, conn, "POST /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+s.tokens["member"]+
			"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		return bufio.NewReader(conn)
	}
	var slow []*bufio.Reader
	for range 4 {
		slow = append(slow, open())
	}
	answered(t, s)
	reasons := make(map[string]int)
	for _, reader := range slow {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		reasons[answer.ReasonOf(reply{resp.StatusCode, resp.Header, string(text)}.status(t)).String()]++
	}
	// The member's own call by gRPC may have been one more.
	if slow := reasons["REQUEST_TOO_SLOW"]; slow < 1 || slow > 2 || slow+reasons["BODY_UNREADABLE"] != 4 {
		t.Errorf("slow bodies are answered %v", reasons)
	}
}

func dialTCP(t *testing.T, url string) net.Conn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func TestSlowReports(t *testing.T) {
	t.Parallel()
	s := start(t)
	var conns []net.Conn
	for range reportsBegun + 1 {
		conn := dialTCP(t, s.url)
		write(t, conn, "POST /webhooks/sendgrid HTTP/1.1\r\nHost: x\r\nX-Twilio-Email-Event-Webhook-Signature: x\r\nContent-Length: 100\r\n\r\n[")
		conns = append(conns, conn)
	}
	// One of them has given way; which one is for the scheduler to say.
	ended := make(chan int, len(conns))
	for _, conn := range conns {
		go func() {
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				resp.Body.Close()
				ended <- resp.StatusCode
			}
		}()
	}
	if code := <-ended; code != http.StatusBadRequest {
		t.Errorf("the slowest report is answered %d", code)
	}
}

func TestLargeHeads(t *testing.T) {
	t.Parallel()
	s := start(t)
	large := strings.Repeat("x", 20<<10)
	if err := dial(t, s.grpc.Target()).Invoke(s.as(t, "member", "x-large", large), listConversations, &emptypb.Empty{}, &emptypb.Empty{}); err == nil {
		t.Error("20 KiB of metadata are taken")
	}
	// The connection may be reset before the refusal is read.
	conn := dialTCP(t, s.url)
	write(t, conn, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: "+large+large+"\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("40 KiB of headers: %d", resp.StatusCode)
		}
	}
	// What passes leaves room for the services' own bound.
	_ = s.take()
	err := s.grpc.Invoke(s.as(t, "member", "accept-language", strings.Repeat("fr,", 2000), "idempotency-key", strings.Repeat("k", 2000)), listConversations, &emptypb.Empty{}, &emptypb.Empty{})
	if err != nil {
		t.Errorf("6 KiB of languages: %v", err)
	}
	passed := s.take()[0].metadata
	for key, most := range map[string]int{"accept-language": 256, "idempotency-key": 128} {
		if got := passed.Get(key); len(got) != 1 || len(got[0]) != most {
			t.Errorf("%s passes with %d bytes", key, len(strings.Join(got, "")))
		}
	}
}

// Whatever is refused counts, and what somebody does who has signed in counts against
// them wherever they do it.
func TestRefusalsCount(t *testing.T) {
	t.Parallel()
	once := func(cfg *Config) {
		cfg.RatePerAddress, cfg.BurstPerAddress, cfg.RatePerCaller, cfg.BurstPerCaller = 0.01, 1, 0.01, 1
	}
	for name, row := range map[string]struct{ caller, verb, path string }{
		"no token":      {"nobody", "GET", "/v1/conversations"},
		"bad token":     {"garbage", "GET", "/v1/conversations"},
		"wrong kind":    {"agent", "GET", "/v1/conversations"},
		"no such path":  {"nobody", "GET", "/v1/nothing"},
		"bad token too": {"garbage", "GET", "/v1/nothing"},
		"wrong method":  {"nobody", "DELETE", "/v1/conversations"},
		"health":        {"nobody", "GET", "/livez"},
		"the document":  {"nobody", "GET", "/openapi.json"},
	} {
		s := start(t, once)
		if got := s.rest(t, row.caller, row.verb, row.path, ""); got.code == http.StatusTooManyRequests {
			t.Errorf("%s: the first is refused: %s", name, got.body)
		}
		if got := s.rest(t, row.caller, row.verb, row.path, ""); got.code != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: the second is answered %d %s", name, got.code, got.body)
		}
		// Those are this caller's own.
		other, theirs := "supervisor", "/v1/agent/conversations"
		if row.caller == "agent" {
			other, theirs = "member", "/v1/conversations"
		}
		if got := s.rest(t, other, "GET", theirs, ""); got.code != http.StatusOK {
			t.Errorf("%s: another is answered %d %s", name, got.code, got.body)
		}
	}
	// Of a public method, whoever is known.
	s := start(t, func(cfg *Config) { once(cfg); cfg.BurstPerCaller = 2 })
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		path := []string{"/v1/conversations", "/v1/taxonomy?audience=PARTICULIER"}[min(i, 1)]
		if got := s.rest(t, "member", "GET", path, ""); got.code != want {
			t.Errorf("a member's call %d: %d %s", i+1, got.code, got.body)
		}
	}
	if got := s.rest(t, "nobody", "GET", "/v1/taxonomy?audience=PARTICULIER", ""); got.code != http.StatusOK {
		t.Errorf("a stranger after that: %d %s", got.code, got.body)
	}
	s = start(t, once)
	for i, want := range []codes.Code{codes.Unimplemented, codes.ResourceExhausted} {
		var trailer metadata.MD
		err := s.grpc.Invoke(t.Context(), "/no.such/Method", &emptypb.Empty{}, &emptypb.Empty{}, grpc.Trailer(&trailer))
		if _, id := named(status.Convert(err)); status.Code(err) != want || id == "" || trailer.Get(answer.RequestIDName)[0] != id {
			t.Errorf("unknown method, time %d: request %q, %v", i, id, err)
		}
	}
	var trailer metadata.MD
	_, err := healthpb.NewHealthClient(s.grpc).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer))
	if _, id := named(status.Convert(err)); status.Code(err) != codes.ResourceExhausted || id == "" || trailer.Get(answer.RequestIDName)[0] != id {
		t.Errorf("health after that: request %q, %v", id, err)
	}
}

func TestHealthIsNotWatched(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.Reflection, cfg.CallTimeout = true, time.Second })
	watch, err := healthpb.NewHealthClient(s.grpc).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a watch of health: %v", err)
	}
	// A stream of reflection has the time of a call.
	stream := silent(t, s.grpc, t.Context(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
	if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a silent stream of reflection: %v", err)
	}
}

// One caller has a number of calls and streams; another has their own.
func TestSharesOfCallers(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.CallsPerCaller, cfg.StreamsPerCaller = 2, 1 })
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	s.submit = func(context.Context, *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
		arrived <- struct{}{}
		<-release
		return &messagingpb.SubmitMessageResponse{}, nil
	}
	s.watch = func(ctx context.Context, send func(*messagingpb.WatchConversationsResponse) error) error {
		_ = send(&messagingpb.WatchConversationsResponse{})
		<-ctx.Done()
		return nil
	}
	client := messagingpb.NewMessagingServiceClient(s.grpc)
	answers := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := client.SubmitMessage(s.as(t, "member"), &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "x"})
			answers <- err
		}()
		<-arrived
	}
	if got := s.rest(t, "member", "GET", "/v1/conversations", ""); got.code != http.StatusTooManyRequests || answer.ReasonOf(got.status(t)) != errorpb.ErrorReason_CALLS_TOO_MANY {
		t.Errorf("a third call: %d %s", got.code, got.body)
	}
	if err := s.grpc.Invoke(s.as(t, "agent"), "/messagerie.messaging.v1.AgentService/ListConversations", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("another's call: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("what was under way: %v", err)
		}
	}
	ctx, end := context.WithCancel(s.as(t, "member"))
	first, err := client.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
	if err == nil {
		_, err = first.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := s.rest(t, "member", "GET", "/v1/conversations:watch", ""); got.code != http.StatusTooManyRequests || answer.ReasonOf(got.status(t)) != errorpb.ErrorReason_STREAMS_TOO_MANY {
		t.Errorf("a second watch: %d %s", got.code, got.body)
	}
	// The place of one that has ended is free.
	end()
	_, _ = first.Recv()
	for t.Context().Err() == nil {
		again, err := client.WatchConversations(s.as(t, "member"), &messagingpb.WatchConversationsRequest{})
		if err == nil {
			_, err = again.Recv()
		}
		if err == nil {
			break
		}
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatal(err)
		}
	}
}

// Connections that say nothing keep nobody out: the oldest of the same address gives
// way, and those on which somebody has signed in stay.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.ConnectionsPerAddress, cfg.MaxConnections = 4, 20 })
	answered(t, s)
	target := s.grpc.Target()
	var first net.Conn
	for i := range 100 {
		conn := dialTCP(t, s.url)
		dialTCP(t, target)
		if i == 0 {
			first = conn
		}
	}
	answered(t, s)
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the oldest silent connection: %v", err)
	}
}

// However many begin to ask and do not, a stranger who has asked keeps their connection.
func TestSlowConnectionsTakeNobodysPlace(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.ConnectionsPerAddress = 4 })
	asking := dialTCP(t, s.url)
	answers := bufio.NewReader(asking)
	ask := func() {
		t.Helper()
		write(t, asking, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("a stranger's connection: %v", err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("a stranger's call: %d", resp.StatusCode)
		}
	}
	ask()
	raw := dialRaw(t, s.grpc.Target(), 65535)
	raw.call(getTaxonomy)
	raw.refused() // has read it by now
	for range 40 {
		write(t, dialTCP(t, s.url), "GET /v1/taxonomy HTTP/1.1\r\nX-Slow: ")
		dialRaw(t, s.grpc.Target(), 65535)
	}
	answered(t, s)
	ask()
	raw.call(getTaxonomy)
	raw.refused()
	// Those who do ask take it: there are four, and this makes five.
	for range 4 {
		conn := dialTCP(t, s.url)
		write(t, conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		other := dialRaw(t, s.grpc.Target(), 65535)
		other.call(getTaxonomy)
		other.refused()
	}
	for name, conn := range map[string]net.Conn{"REST": asking, "gRPC": raw.conn} {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the oldest of too many that ask by %s is open", name)
		}
	}
}

// Who is refused again and again gets those answers late, on connections that stay: a
// new one for each would cost more than the answer.
func TestRefusalsAreHeldBack(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.RatePerAddress, cfg.BurstPerAddress = 0.01, 1 })
	var conns []net.Conn
	for range 9 {
		conns = append(conns, dialTCP(t, s.url))
	}
	begun := time.Now()
	for _, conn := range conns {
		write(t, conn, "GET /v1/taxonomy HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	refused := 0
	for _, conn := range conns {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests {
			refused++
		}
		if resp.Close {
			t.Error("the connection of a refused call is closed")
		}
	}
	// The eighth in a row waits for a second.
	if late := time.Since(begun); refused != 8 || late < time.Second {
		t.Errorf("%d of 9 are refused, the last after %s", refused, late)
	}
}

// rawConn is an HTTP/2 connection whose other end may send what it likes.
type rawConn struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	head   bytes.Buffer
	hpack  *hpack.Encoder
	next   uint32
	// unanswered is how many settings the other end has not acknowledged.
	unanswered int
}

// dialRaw connects and says how much may be sent on each stream.
func dialRaw(t *testing.T, addr string, window uint32) *rawConn {
	t.Helper()
	conn := dialTCP(t, addr)
	write(t, conn, http2.ClientPreface)
	c := &rawConn{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1}
	c.hpack, c.framer.ReadMetaHeaders = hpack.NewEncoder(&c.head), hpack.NewDecoder(4096, nil)
	c.settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	return c
}

func (c *rawConn) settings(list ...http2.Setting) {
	c.t.Helper()
	c.unanswered++
	if err := c.framer.WriteSettings(list...); err != nil {
		c.t.Fatal(err)
	}
}

// call sends a call for the first audience.
func (c *rawConn) call(method string, more ...[2]string) (stream uint32) {
	c.t.Helper()
	c.head.Reset()
	for _, field := range append([][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	}, more...) {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to memory
	}
	stream = c.next
	c.next += 2
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.head.Bytes(), EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	if err := c.framer.WriteData(stream, true, []byte{0, 0, 0, 0, 2, 0x08, 0x01}); err != nil {
		c.t.Fatal(err)
	}
	return stream
}

// refused reports whether any call has ended with RESOURCE_EXHAUSTED by the time that
// the other end has read all that was sent.
func (c *rawConn) refused() bool {
	c.t.Helper()
	// Its answer says so; a ping would be one of too many.
	c.settings()
	for refused := false; ; {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if frame.IsAck() {
				c.unanswered--
			}
			if c.unanswered == 0 {
				return refused
			}
		case *http2.MetaHeadersFrame:
			for _, field := range frame.Fields {
				refused = refused || field.Name == "grpc-status" && field.Value == "8"
			}
		}
	}
}

// Answers that are not read are bounded, whoever does not read them.
func TestUnreadAnswers(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.label = strings.Repeat("x", 100<<10)
	attacker := dialRaw(t, s.grpc.Target(), 0)
	calls := 0
	for !attacker.refused() {
		if calls++; calls > 500 {
			t.Fatal("500 answers of 100 KiB wait to be read")
		}
		attacker.call(getTaxonomy)
	}
	answered(t, s)
}

// A caller who reads gets everything, however much that is in all.
func TestReadAnswersAreUnbounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.label = strings.Repeat("x", 200<<10)
	client := taxonomypb.NewTaxonomyServiceClient(s.grpc)
	for i := range 20 {
		if _, err := client.GetTaxonomy(t.Context(), &taxonomypb.GetTaxonomyRequest{Audience: 1}); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
}

// What never becomes a request is taken at a rate: no more of it is read than its caller
// has a budget for, or a connection on which several people call.
func TestFloodsWithoutRequests(t *testing.T) {
	t.Parallel()
	junk := func(frame func(*http2.Framer)) []byte {
		var wire bytes.Buffer
		for wire.Len() < 60<<10 {
			frame(http2.NewFramer(&wire, nil))
		}
		return wire.Bytes()
	}
	const frameWork, tinyWork = 512, 4 << 10 // as internal/flow counts them
	for name, row := range map[string]struct {
		frames       []byte
		length, work int // of each
	}{
		"PING ACK":      {junk(func(f *http2.Framer) { _ = f.WritePing(true, [8]byte{}) }), 17, frameWork},
		"PRIORITY":      {junk(func(f *http2.Framer) { _ = f.WritePriority(1, http2.PriorityParam{}) }), 14, frameWork},
		"empty DATA":    {junk(func(f *http2.Framer) { _ = f.WriteData(1, false, nil) }), 9, tinyWork},
		"unknown kinds": {junk(func(f *http2.Framer) { _ = f.WriteRawFrame(99, 0, 0, nil) }), 9, frameWork},
	} {
		// A stranger's budget at once and for two seconds and some, and what the
		// connection of several may.
		for of, budget := range map[string]int{"a stranger's": 6 << 20, "several people's": 5 << 20} {
			t.Run(of+" "+name, func(t *testing.T) {
				t.Parallel()
				s := start(t, func(cfg *Config) { cfg.ConnectionsPerAddress = 64 })
				answered(t, s)
				attacker := dialRaw(t, s.grpc.Target(), 65535)
				if of == "a stranger's" {
					attacker.call(getTaxonomy)
				} else {
					for _, who := range []string{"member", "agent"} {
						// A token that has been seen is counted as it is read.
						if _, err := taxonomypb.NewTaxonomyServiceClient(s.grpc).GetTaxonomy(s.as(t, who), &taxonomypb.GetTaxonomyRequest{Audience: 1}); err != nil {
							t.Fatal(err)
						}
						attacker.call(getTaxonomy, [2]string{"authorization", "Bearer " + s.tokens[who]})
					}
				}
				attacker.refused()
				if tcp, ok := attacker.conn.(*net.TCPConn); ok {
					_ = tcp.SetWriteBuffer(16 << 10)
				}
				go func() { _, _ = io.Copy(io.Discard, attacker.conn) }()
				_ = attacker.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
				sent := 0
				for {
					n, err := attacker.conn.Write(row.frames)
					sent += n
					if err != nil {
						break
					}
				}
				// And what lies between the two ends.
				if most := budget/(row.length+row.work)*row.length + 512<<10; sent > most {
					t.Errorf("%d bytes were taken in two seconds, want at most %d", sent, most)
				}
				answered(t, s)
			})
		}
	}
}

// Requests that the HTTP server would answer by itself are counted too.
func TestOptionsForAll(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.RatePerAddress, cfg.BurstPerAddress = 0.01, 1 })
	for i, want := range []int{http.StatusBadRequest, http.StatusTooManyRequests} {
		conn := dialTCP(t, s.url)
		write(t, conn, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.Header.Get("X-Content-Type-Options") == "" {
			t.Errorf("time %d: %d, want %d", i, resp.StatusCode, want)
		}
	}
}

// A drain ends the watches that are open, and is not held up by them.
func TestDrainEndsWatches(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.watch = func(ctx context.Context, send func(*messagingpb.WatchConversationsResponse) error) error {
		_ = send(&messagingpb.WatchConversationsResponse{})
		<-ctx.Done()
		return ctx.Err()
	}
	watch, err := messagingpb.NewMessagingServiceClient(s.grpc).WatchConversations(s.as(t, "member"), &messagingpb.WatchConversationsRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	byREST := s.follow(t, "member", "/v1/conversations:watch")
	byREST.event(t)
	s.stop() // fails the test when the drain takes its whole time, which is 10 s
	if _, err := watch.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the watch by gRPC ends with %v", err)
	}
	if rest, err := io.ReadAll(byREST.text); err != nil || len(rest) > 0 {
		t.Errorf("the watch by REST ends with %q, %v", rest, err)
	}
}

// What nobody would look at the token of counts by its address, and is not held open
// when it is refused.
func TestUnlookedTokensCount(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) {
		// Longer than the connection of who is refused is read no further.
		cfg.RatePerAddress, cfg.BurstPerAddress, cfg.CallTimeout = 0.01, 1, 4*time.Second
		cfg.WebhookRate, cfg.WebhookBurst = 0.01, 1
	})
	for i, want := range []codes.Code{codes.OK, codes.ResourceExhausted} {
		_, err := healthpb.NewHealthClient(s.grpc).Check(s.as(t, "garbage"), &healthpb.HealthCheckRequest{})
		if status.Code(err) != want {
			t.Errorf("health, time %d: %v", i, err)
		}
	}
	stream := silent(t, s.grpc, s.as(t, "garbage"), healthpb.Health_Check_FullMethodName)
	if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a refused check that does not come: %v", err)
	}
	for i, want := range []int{http.StatusMethodNotAllowed, http.StatusTooManyRequests} {
		if got := s.rest(t, "nobody", "GET", sendGridPath, ""); got.code != want {
			t.Errorf("a report that is not posted, time %d: %d", i, got.code)
		}
	}
}

// A body that was announced and does not come holds up neither the answer nor a drain.
func TestAnnouncedBodies(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn := dialTCP(t, s.url)
	write(t, conn, "GET /v1/conversations:watch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+s.tokens["member"]+"\r\nContent-Length: 100\r\n\r\n")
	// The server waits for what was announced before it answers, for 15 s at most.
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a watch with a body: %d", resp.StatusCode)
	}
}

// Each answer tells what its caller has left: refusals too, and of each caller their own.
func TestQuotaIsTold(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.RatePerCaller, cfg.BurstPerCaller = 0.001, 3 })
	for i, want := range []struct {
		code int
		left string
	}{{200, `"caller";r=2;t=1000`}, {200, `"caller";r=1;t=2000`}, {200, `"caller";r=0;t=3000`}, {429, `"caller";r=0;t=3000`}} {
		got := s.rest(t, "member", "GET", "/v1/conversations", "")
		if got.code != want.code || got.header.Get("RateLimit") != want.left || got.header.Get("RateLimit-Policy") != `"caller";q=3;w=3000` {
			t.Errorf("call %d: %d, %q of %q, want %d %q", i+1, got.code, got.header.Get("RateLimit"), got.header.Get("RateLimit-Policy"), want.code, want.left)
		}
	}
	if got := s.rest(t, "agent", "GET", "/v1/agent/conversations", ""); got.header.Get("RateLimit") != `"caller";r=2;t=1000` {
		t.Errorf("another caller: %q", got.header.Get("RateLimit"))
	}
}
